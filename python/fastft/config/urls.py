"""Addresses of data: which schemes there are, told before anything heavy is imported or anybody is asked."""

from __future__ import annotations

import re
from importlib.util import find_spec

from fastft.core.registry import closest

STDIN = "-"
"""The path that means standard input."""
ENGINE = ("http", "https", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
"""Schemes that the engine serves."""
HUB = "hf"
"""The scheme of data sets of the Hugging Face Hub."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(path: str) -> str | None:
    """What stands before `://`, in small letters; None for a path."""
    found = _SCHEME.match(path)
    return None if found is None else found[1].lower()


def is_elsewhere(path: str) -> bool:
    """Whether the rows have to be brought here first."""
    return path == STDIN or scheme_of(path) is not None


def trouble(path: str) -> tuple[str, str] | None:
    """What is wrong with an address by its look alone, and a way out."""
    scheme = scheme_of(path)
    if scheme is None or scheme in ENGINE:
        return None
    if scheme == HUB:
        parts = path.partition("://")[2].partition("?")[0].split("/")
        if parts[0] == "datasets" and len(parts) > 1 and parts[1]:
            return None
        return (
            f"`{path}` names no data set",
            "such an address is `hf://datasets/ORG/NAME`, with `@REVISION`, `/FILE` and `?split=` as needed",
        )
    if scheme in ("file", "local"):
        return f"`{path}` is no path", f"write `{path.partition('://')[2]}`"
    others = _of_fsspec()
    if scheme in others:
        return None
    near = closest(scheme, [*ENGINE, HUB, *others])
    known = f"known are {', '.join((*ENGINE, HUB))}" + (
        ", and what fsspec knows" if others else ", and with the package fsspec those that it knows"
    )
    return f"`{path}` has the unknown scheme `{scheme}`", f"did you mean `{near}://`? {known}" if near else known


def _of_fsspec() -> tuple[str, ...]:
    """Schemes that fsspec serves beside ours; asked only for a scheme that is not ours."""
    if find_spec("fsspec") is None:
        return ()
    from fsspec.registry import known_implementations, registry

    return tuple(sorted({*known_implementations, *registry}))
