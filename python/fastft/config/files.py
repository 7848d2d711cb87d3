"""What a config says about files, looked up on disk; nothing is read.

`load` knows nothing of the machine, so that a config can be checked where the data is not.
`fastft config check` and `fastft train` ask here too, and tell everything together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fastft.config import urls
from fastft.config.cleaning import CleanConfig, DecontaminateConfig
from fastft.config.schema import RunConfig
from fastft.core.errors import Problem
from fastft.core.registry import closest, closest_file

_GLOB = "*?["
BRACKETS = (
    "a pattern knows `*`, `?` and `**`, and `[...]` means itself; for example `shard-*.jsonl`, or one source a file"
)
"""What to do where nothing has the name of a source with brackets in it."""


def file_problems(config: RunConfig, folder: Path | None) -> list[Problem]:
    """Name every file that the config names and that is not there.

    Args:
        config: a valid config.
        folder: the config file's; relative paths are looked for there after the working directory.
    """
    cleaning = cleaning_file_problems(config.data.clean, config.data.decontaminate, folder)
    return [*_data(config, folder), *cleaning, *_template(config, folder), *_model(config, folder)]


def cleaning_file_problems(
    clean: CleanConfig | None, decontaminate: DecontaminateConfig | None, folder: Path | None
) -> list[Problem]:
    """Name every file that cleaning needs and that is not there."""
    named: list[tuple[str, str]] = []
    if clean is not None and clean.block is not None:
        named += [(f"data.clean.block.files.{index}", path) for index, path in enumerate(clean.block.files)]
    if clean is not None and clean.language is not None and clean.language.fasttext:
        named.append(("data.clean.language.fasttext", clean.language.fasttext))
    if decontaminate is not None:
        named += [(f"data.decontaminate.sets.{index}.path", each.path) for index, each in enumerate(decontaminate.sets)]
    problems = []
    for key, path in named:
        if _find(path, folder) is not None:
            continue
        if key.startswith("data.decontaminate.") and any(char in path for char in _GLOB):
            if not _matches(path, folder):
                problems.append(Problem("data.missing-file", key, f"no file matches `{path}`", _looked(path, folder)))
        else:
            problems.append(Problem("data.missing-file", key, f"there is no file `{path}`", _near(path, folder)))
    return problems


def with_model_found(config: RunConfig, folder: Path) -> RunConfig:
    """The config, with a `model.path` that is there beside the config only as the path where it is.

    Args:
        config: a valid config.
        folder: the config file's.
    """
    path = config.model.path
    found = _find(path, folder)
    if found is None or found == Path(path).expanduser():
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"path": str(found)})})


def _data(config: RunConfig, folder: Path | None) -> Iterator[Problem]:
    piped: str | None = None
    for part, sources in (("train", config.data.train), ("eval", config.data.eval)):
        for index, source in enumerate(sources):
            key, path = f"data.{part}.{index}.path", source.path
            if path == urls.STDIN:
                if piped is not None:
                    said = f"`{piped}` reads standard input to its end, so nothing is left for a second `-`"
                    yield Problem("data.stdin", key, said, "save the rows as a file first")
                elif config.strategy.processes > 1:
                    said = "`-` is the standard input of one process, and `strategy.processes` starts several"
                    yield Problem("data.stdin", key, said, "save the rows as a file first")
                piped = piped or key
            if urls.is_elsewhere(path):
                if (wrong := urls.trouble(path)) is not None:
                    yield Problem("data.address", key, *wrong)
                continue
            found = _find(path, folder)
            if found is None and any(char in path for char in "*?"):
                if not any(matches(root, path) for root in _roots(Path(path).expanduser(), folder)):
                    hint = BRACKETS if "[" in path else _looked(path, folder)
                    yield Problem("data.missing-file", key, f"no file matches `{path}`", hint)
            elif found is None:
                hint = BRACKETS if "[" in path else _near(path, folder)
                yield Problem("data.missing-file", key, f"there is no file `{path}`", hint)
            elif found.is_dir() and not any(found.iterdir()):
                yield Problem("data.missing-file", key, f"the folder `{path}` is empty")
            elif not os.access(found, os.R_OK):
                yield Problem("data.unreadable", key, f"`{path}` may not be read", f"chmod +r {found}")


def _template(config: RunConfig, folder: Path | None) -> Iterator[Problem]:
    name = config.data.template
    if name.endswith((".jinja", ".j2")) and _find(name, folder) is None:
        yield Problem("data.missing-file", "data.template", f"there is no file `{name}`", _near(name, folder))


def _model(config: RunConfig, folder: Path | None) -> Iterator[Problem]:
    """A path that can only be local and is not there; what may be a hub id is the hub's business."""
    path = config.model.path
    found = _find(path, folder) or Path(path).expanduser()
    key = "model.path"
    if found.is_dir():
        if not any((found / name).is_file() for name in ("config.json", "adapter_config.json", "tokenizer.json")):
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
            yield Problem("model.missing-file", key, f"there is no model at `{path}`", _near(path, folder))
        elif "/" in path and found.parent.is_dir() and (near := closest(found.name, _names(found.parent))):
            yield Problem(
                "model.missing-file", key, f"there is no model at `{path}`", f"did you mean `{found.parent / near}`?"
            )


def _roots(path: Path, folder: Path | None) -> list[Path]:
    """Where a path is looked for."""
    if path.is_absolute():
        return [Path(path.anchor)]
    return [Path()] if folder is None or folder.resolve() == Path.cwd() else [Path(), folder]


def _find(path: str, folder: Path | None) -> Path | None:
    written = Path(path).expanduser()
    return next((root / written for root in _roots(written, folder) if (root / written).exists()), None)


def _matches(pattern: str, folder: Path | None) -> bool:
    written = Path(pattern).expanduser()
    relative = str(written.relative_to(written.anchor))
    return any(next(root.glob(relative), None) is not None for root in _roots(written, folder))


def matches(root: Path, pattern: str) -> bool:
    """Whether a source's pattern means a file below `root`, as the engine reads patterns.

    Brackets mean themselves there, and `**` within a name is `*`.
    """
    written = Path(pattern).expanduser()
    parts = written.relative_to(written.anchor).parts
    plain = (part if part == "**" else re.sub(r"\*+", "*", part).replace("[", "[[]") for part in parts)
    return next(root.glob("/".join(plain)), None) is not None


def _near(path: str, folder: Path | None) -> str | None:
    """A file of a like name in the same folder, or where it was looked for."""
    written = Path(path).expanduser()
    for root in _roots(written, folder):
        parent = (root / written).parent
        if parent.is_dir() and (near := closest_file(written.name, _names(parent))):
            return f"did you mean `{written.parent / near}`?"
    return _looked(path, folder)


def _looked(path: str, folder: Path | None) -> str | None:
    written = Path(path).expanduser()
    if written.is_absolute():
        return None if written.parent.is_dir() else f"there is no folder `{written.parent}`"
    return f"looked in {' and '.join(str(root.resolve()) for root in _roots(written, folder))}"


def _names(folder: Path) -> list[str]:
    return [found.name for found in folder.iterdir() if not found.name.startswith(".")]
