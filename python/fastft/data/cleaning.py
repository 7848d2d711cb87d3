"""`data.clean`, `data.decontaminate` and `data.dedup` as the engine is told them, paths found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import ConfigError, Problem
from fastft.data.engine import engine

if TYPE_CHECKING:
    from fastft.config.cleaning import CleanConfig, DecontaminateConfig

_ENDINGS = {".json", ".jsonl", ".txt"}


def clean_plan(
    clean: CleanConfig | None, decontaminate: DecontaminateConfig | None, config_dir: Path | None
) -> dict[str, Any] | None:
    """What is done with each row; None when nothing is. Whether the engine can do it is not asked, see `trial`.

    Files that are not there are named as they are written: the engine tells of each by its key.
    """
    plan: dict[str, Any] = {} if clean is None else clean.plan()
    if "block" in plan:
        plan["block"]["files"] = [str(_one(path, config_dir)) for path in plan["block"]["files"]]
    if (plan.get("language") or {}).get("fasttext"):
        plan["language"]["fasttext"] = str(_one(plan["language"]["fasttext"], config_dir))
    if decontaminate is not None:
        plan["decontaminate"] = decontaminate.model_dump(exclude={"sets"}) | {
            "sets": [
                {"name": each.name, "fields": each.fields, "files": _files(each.path, config_dir)}
                for each in decontaminate.sets
            ]
        }
    return plan or None


def trial(clean: Mapping[str, Any] | None, augment: Mapping[str, Any] | None = None) -> list[Problem]:
    """Everything that the engine can't do of what it is told about cleaning and copies, each with its key."""
    told = (None if part is None else json.dumps(part) for part in (clean, augment))
    try:
        engine().try_options(*told)
    except ConfigError as error:
        return error.problems
    return []


def _one(path: str, config_dir: Path | None) -> Path:
    here = Path(path).expanduser()
    return here if config_dir is None or here.is_absolute() or here.exists() else config_dir / here


def _files(path: str, config_dir: Path | None) -> list[str]:
    """The files of an evaluation set, sorted; the path itself where there is none, which the engine then tells."""
    if any(letter in path for letter in "*?["):
        roots = [Path()] if config_dir is None else [Path(), config_dir]
        for root in roots:
            wanted = Path(path).expanduser()
            found = sorted(Path("/").glob(str(wanted)[1:]) if wanted.is_absolute() else root.glob(str(wanted)))
            if found:
                return [str(file) for file in found]
        return [path]
    here = _one(path, config_dir)
    if not here.is_dir():
        return [str(here)]
    return [str(file) for file in sorted(here.rglob("*")) if file.suffix in _ENDINGS]
