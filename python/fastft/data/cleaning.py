"""`data.clean`, `data.decontaminate` and `data.dedup` as the engine is told them, paths found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import DataError

if TYPE_CHECKING:
    from fastft.config.cleaning import CleanConfig, DecontaminateConfig

_ENDINGS = {".json", ".jsonl", ".txt"}


def clean_plan(
    clean: CleanConfig | None, decontaminate: DecontaminateConfig | None, config_dir: Path | None
) -> dict[str, Any] | None:
    """What is done with each row; None when nothing is.

    Raises:
        DataError: a block list, a model or an evaluation set is not there.
    """
    plan: dict[str, Any] = {} if clean is None else clean.plan()
    if "block" in plan:
        plan["block"]["files"] = [str(_one(path, config_dir, "clean.block.files")) for path in plan["block"]["files"]]
    if (plan.get("language") or {}).get("fasttext"):
        model = _one(plan["language"]["fasttext"], config_dir, "clean.language.fasttext")
        plan["language"]["fasttext"] = str(model)
    if decontaminate is not None:
        plan["decontaminate"] = decontaminate.model_dump(exclude={"sets"}) | {
            "sets": [
                {"name": each.name, "fields": each.fields, "files": _files(each.path, config_dir)}
                for each in decontaminate.sets
            ]
        }
    return plan or None


def _one(path: str, config_dir: Path | None, key: str) -> Path:
    here = Path(path).expanduser()
    if config_dir is not None and not here.is_absolute() and not here.exists():
        here = config_dir / here
    if not here.exists():
        raise DataError(f"`data.{key}` names `{here}`, which is not there", code="data.source")
    return here


def _files(path: str, config_dir: Path | None) -> list[str]:
    """The files of an evaluation set, sorted."""
    if any(letter in path for letter in "*?["):
        roots = [Path()] if config_dir is None else [Path(), config_dir]
        for root in roots:
            wanted = Path(path).expanduser()
            found = sorted(Path("/").glob(str(wanted)[1:]) if wanted.is_absolute() else root.glob(str(wanted)))
            if found:
                return [str(file) for file in found]
        raise DataError(f"no file of an evaluation set matches `{path}`", code="data.source")
    here = _one(path, config_dir, "decontaminate.sets")
    if not here.is_dir():
        return [str(here)]
    files = sorted(file for file in here.rglob("*") if file.suffix in _ENDINGS)
    if not files:
        raise DataError(
            f"the folder `{here}` of an evaluation set has no .json, .jsonl or .txt file", code="data.source"
        )
    return [str(file) for file in files]
