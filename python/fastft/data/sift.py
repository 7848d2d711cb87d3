"""Rows in, rows out: what cleaning or the search for duplicates keeps, and why the others went."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import ConfigError, Problem, ResourceError
from fastft.data.engine import engine
from fastft.data.plan import make_plan
from fastft.data.watch import Watch

if TYPE_CHECKING:
    from fastft.config.kinds import Stage
    from fastft.config.schema import DataConfig
    from fastft.core.events import Bus


def clean(
    data: DataConfig, stage: Stage, kept: Path, dropped: Path, *, config_dir: Path | None = None, bus: Bus
) -> list[dict[str, Any]]:
    """Apply `data.clean` and `data.decontaminate` to the training rows; see `sift` for the rest.

    Raises:
        ConfigError: neither is there.
    """
    if data.clean is None and data.decontaminate is None:
        said = "the config has neither `data.clean` nor `data.decontaminate`, so there is nothing to clean by"
        hint = (
            "for example --set 'data.clean={repair={}, gopher={}}'; `fastft config explain data.clean` lists the rules"
        )
        raise ConfigError([Problem("data.no-rules", "data.clean", said, hint)])
    return sift(data.model_copy(update={"dedup": None}), stage, kept, dropped, config_dir=config_dir, bus=bus)


def dedup(
    data: DataConfig, stage: Stage, kept: Path, dropped: Path, *, config_dir: Path | None = None, bus: Bus
) -> list[dict[str, Any]]:
    """Leave out duplicates as `data.dedup` says, without it rows with the same text; see `sift` for the rest."""
    from fastft.config.cleaning import DedupConfig

    alone = {"clean": None, "decontaminate": None, "dedup": data.dedup or DedupConfig()}
    return sift(data.model_copy(update=alone), stage, kept, dropped, config_dir=config_dir, bus=bus)


def sift(
    data: DataConfig, stage: Stage, kept: Path, dropped: Path, *, config_dir: Path | None = None, bus: Bus
) -> list[dict[str, Any]]:
    """Write the training rows that stay, byte for byte unless repaired, and the others with their reasons.

    Args:
        data: which rows, and what they are held to.
        stage: what rows have to be.
        kept: new JSONL file of the rows that stay.
        dropped: new JSONL file: file, line, source, rule, reason and row of each other; a duplicate says `of` which.
        config_dir: where relative paths are looked for when the working directory has no such file.
        bus: hears of progress.

    Returns:
        For each source its books: read = kept + filtered + duplicates + quarantined.

    Raises:
        ResourceError: a file is there already, or can't be written.
        DataError: a source can't be used.
    """
    for path in (kept, dropped):
        if path.exists():
            hint = "name another with --out, or remove it"
            raise ResourceError(f"`{path}` is there already", hint=hint, code="resource.file-taken")
    plan = make_plan(data, data.train, stage, None, config_dir=config_dir, cache=paths.cache_folder(), bus=bus)
    progress = engine().Progress()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f".{kept.name}.") as name:
            work = Path(name)  # files appear under their names when they are whole
            with Watch(progress, bus):
                answer = engine().sift(plan.json, str(work / "kept"), str(work / "dropped"), str(work), progress)
            (work / "dropped").replace(dropped)
            (work / "kept").replace(kept)
    except OSError as error:
        said = f"`{kept}` can't be written: {(error.strerror or str(error)).lower()}"
        raise ResourceError(said, code="resource.no-permission") from error
    books: list[dict[str, Any]] = json.loads(answer)
    return books
