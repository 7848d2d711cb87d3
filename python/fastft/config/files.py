"""What a config says about files, looked up on disk; nothing is read.

`load` knows nothing of the machine, so that a config can be checked where the data is not.
`fastft config check` and `fastft train` ask here too, and tell everything together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastft.config.schema import RunConfig
from fastft.core.errors import Origin, Problem
from fastft.core.registry import closest

_GLOB = "*?["


def file_problems(config: RunConfig, origins: Mapping[str, Origin]) -> list[Problem]:
    """Name every file that the config names and that is not there.

    Args:
        config: a valid config.
        origins: where its values were written; relative paths are also looked for beside those files.
    """
    return [*_data(config, origins), *_template(config, origins), *_model(config)]


def find(path: str, origin: Origin | None) -> Path | None:
    """The file or folder a config's path means: from the working directory, else from the config's folder.

    Returns:
        None when it is in neither.
    """
    written = Path(path).expanduser()
    if written.exists():
        return written
    if origin is None or origin.line is None or written.is_absolute():
        return None
    beside = Path(origin.source).parent / written
    return beside if beside.exists() else None


def _data(config: RunConfig, origins: Mapping[str, Origin]) -> Iterator[Problem]:
    for part, sources in (("train", config.data.train), ("eval", config.data.eval)):
        for index, source in enumerate(sources):
            key = f"data.{part}.{index}.path"
            origin = origins.get(key)
            if any(char in source.path for char in _GLOB) and find(source.path, origin) is None:
                if not _matches(source.path, origin):
                    yield Problem("data.missing-file", key, f"no file matches `{source.path}`", _looked(origin))
                continue
            found = find(source.path, origin)
            if found is None:
                yield Problem("data.missing-file", key, f"there is no file `{source.path}`", _near(source.path, origin))
            elif found.is_dir() and not any(found.iterdir()):
                yield Problem("data.missing-file", key, f"the folder `{source.path}` is empty")
            elif not os.access(found, os.R_OK):
                yield Problem("data.unreadable", key, f"`{source.path}` may not be read", f"chmod +r {found}")


def _template(config: RunConfig, origins: Mapping[str, Origin]) -> Iterator[Problem]:
    name = config.data.template
    origin = origins.get("data.template")
    if name.endswith((".jinja", ".j2")) and find(name, origin) is None:
        yield Problem("data.missing-file", "data.template", f"there is no file `{name}`", _near(name, origin))


def _model(config: RunConfig) -> Iterator[Problem]:
    """A path that can only be local and is not there; what may be a hub id is the hub's business."""
    path = config.model.path
    found = Path(path).expanduser()
    key = "model.path"
    if found.is_dir():
        if not (found / "config.json").is_file() and not (found / "adapter_config.json").is_file():
            yield Problem(
                "model.no-model",
                key,
                f"the folder `{path}` holds no model",
                "a Hugging Face folder has a `config.json`",
            )
    elif not found.exists() and not path.startswith("embedded:"):
        local = (
            path.startswith(("/", "./", "../", "~")) or path.endswith(".gguf") or path.count("/") > 1 or "\\" in path
        )
        if local:
            yield Problem("model.missing-file", key, f"there is no model at `{path}`", _near(path, None))
        elif "/" in path and found.parent.is_dir() and (near := closest(found.name, _names(found.parent))):
            yield Problem(
                "model.missing-file", key, f"there is no model at `{path}`", f"did you mean `{found.parent / near}`?"
            )


def _matches(pattern: str, origin: Origin | None) -> bool:
    written = Path(pattern).expanduser()
    if written.is_absolute():
        roots, pattern = [Path(written.anchor)], str(written.relative_to(written.anchor))
    else:
        roots = _roots(origin)
    return any(next(root.glob(pattern), None) is not None for root in roots)


def _roots(origin: Origin | None) -> list[Path]:
    """Where a relative path is looked for."""
    beside = [Path(origin.source).parent] if origin is not None and origin.line is not None else []
    return [Path(), *beside]


def _near(path: str, origin: Origin | None) -> str | None:
    """A file of a like name in the same folder, or how far the path does exist."""
    written = Path(path).expanduser()
    for base in _roots(origin):
        folder = (base / written).parent
        if folder.is_dir():
            near = closest(written.name, _names(folder))
            if near is not None:
                return f"did you mean `{written.parent / near}`?"
    return _looked(origin) if not written.is_absolute() else None


def _looked(origin: Origin | None) -> str:
    """Where a relative path was looked for."""
    here = f"looked in {Path.cwd()}"
    if origin is None or origin.line is None:
        return here
    beside = Path(origin.source).parent.resolve()
    return here if beside == Path.cwd() else f"{here} and {beside}"


def _names(folder: Path) -> list[str]:
    return [found.name for found in folder.iterdir() if not found.name.startswith(".")]
