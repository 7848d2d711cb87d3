"""Rows that come as a stream: standard input, open files, and addresses that fsspec serves. Each becomes a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastft.core.errors import DataError
from fastft.core.need import need
from fastft.data.keep import Keep

if TYPE_CHECKING:
    from fastft.core.events import Bus

_BLOCK = 1 << 20
_READ: dict[str, Path] = {}
"""Where standard input of this process lies now: it can be read once, and is asked for as often as a plan is made."""


def stdin(keep: Keep) -> dict[str, Any]:
    """Read standard input to its end, once in the life of the process.

    Raises:
        DataError: nothing is connected to it, or it is empty.
    """
    if "-" not in _READ or not _READ["-"].is_file():
        source = sys.stdin
        if source is None or source.closed or source.isatty():
            raise DataError(
                "`-` means standard input, and nothing is connected to it",
                hint="for example `zcat rows.jsonl.gz | fastft data prepare run.toml`",
                code="data.stdin",
            )
        _READ["-"] = save(source.buffer, "stdin", keep, name="stdin")
        if _READ["-"].stat().st_size == 0:
            raise DataError("standard input is empty", hint="did the program before the pipe fail?", code="data.stdin")
    return {"path": str(_READ["-"]), "shown": "-"}


def save(file: IO[Any], address: str, keep: Keep, *, name: str) -> Path:
    """Write what is left of an open file, of bytes or of text, into the cache; the same content is one file there."""

    def fill(target: Path) -> None:
        _copy(nullcontext(file), address, target)

    return keep.add(address, name, {"shown": address}, fill)


def _copy(opened: AbstractContextManager[IO[Any]], address: str, target: Path) -> None:
    with target.open("wb") as out:
        for block in _blocks(opened, address):
            out.write(block)


def _blocks(opened: AbstractContextManager[IO[Any]], address: str) -> Iterator[bytes]:
    """Its content; what goes wrong with it is not what goes wrong with the file that is written."""
    try:
        with opened as file:
            while block := file.read(_BLOCK):
                yield block.encode() if isinstance(block, str) else block
    except OSError as error:
        raise DataError(f"`{address}` can't be read to its end: {error}", code="data.remote-network") from error


def fsspec(url: str, keep: Keep, bus: Bus) -> list[dict[str, Any]]:
    """Bring what an address of fsspec's names: a file, a folder's data files, or what a pattern matches.

    Returns:
        For each file its `path` here, its address as `shown`, and its `size`.

    Raises:
        DataError: there is none, or fsspec fails.
        UnsupportedError: fsspec, or what it needs for the scheme, is not installed.
    """
    del bus  # fsspec tells nothing while it works
    module = need("fsspec", what=f"`{url}`")
    try:
        system, path = module.core.url_to_fs(url)
        found = list(_files(system, path))
        if not found:
            hint = "a file, a folder with data files or a pattern may be named"
            raise DataError(f"nothing is there for `{url}`", hint=hint, code="data.remote-missing")
        keep.make_room(sum(int(system.info(each).get("size") or 0) for each in found))
        return [_bring(module.core.OpenFile(system, each), keep) for each in found]
    except (OSError, ValueError, ImportError) as error:
        hint = "fsspec takes options from its own configuration: FSSPEC_<SCHEME>_... or ~/.config/fsspec"
        raise DataError(f"`{url}`: {error}", hint=hint, code="data.remote-refused") from error


def _files(system: Any, path: str) -> Iterator[str]:
    from fastft.data.engine import engine

    if not any(letter in path for letter in "*?") and system.isfile(path):
        yield path
        return
    fixed = re.split(r"[*?]", path, maxsplit=1)[0]
    names = sorted(system.find(path if fixed == path else fixed.rpartition("/")[0]))
    yield from engine().chosen_names(path, names)


def _bring(file: Any, keep: Keep) -> dict[str, Any]:
    shown, name = file.fs.unstrip_protocol(file.path), file.path.rstrip("/").rpartition("/")[2]

    def fill(target: Path) -> None:
        _copy(file, shown, target)

    local = keep.make(shown, str(file.fs.ukey(file.path)), name, {"shown": shown}, fill)
    return {"path": str(local), "shown": shown, "size": local.stat().st_size}
