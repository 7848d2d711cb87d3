"""Preparing data in parts, on machines that share a folder: plan it once, run the shards anywhere, commit once.

The plan writes what is to be done into the folder; a shard does its part of the units and may be started again at
any time; committing turns the folder into the store that one machine would have made, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.config import urls
from fastft.core import paths
from fastft.core.errors import DataError, ResourceError
from fastft.data import spool
from fastft.data.engine import engine
from fastft.data.keep import Keep
from fastft.data.plan import EnginePlan, make_plan
from fastft.data.publish import EVAL, MANIFEST, link_tree
from fastft.data.sources import names_by_path
from fastft.data.watch import Watch

if TYPE_CHECKING:
    from fastft.config.kinds import TokenizerFiles
    from fastft.config.schema import RunConfig, SourceConfig
    from fastft.core.events import Bus

ASKED = "asked.json"
"""What was planned: the config and its folder, so that a shard needs nothing but the folder."""


@dataclass(frozen=True)
class Job:
    """A planned preparation.

    Attributes:
        folder: where it is.
        config: of the run.
        config_dir: where relative paths are looked for when the working directory has no such file.
    """

    folder: Path
    config: RunConfig
    config_dir: Path | None

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job that was planned in a folder.

        Raises:
            DataError: nothing was.
        """
        from fastft.config.schema import RunConfig

        try:
            asked = json.loads((folder / ASKED).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"nothing is planned in `{folder}`",
                hint=f"`fastft data plan CONFIG --out {folder}` comes first",
                code="data.no-plan",
            ) from error
        beside = asked["config_dir"]
        return cls(folder, RunConfig.model_validate(asked["config"]), None if beside is None else Path(beside))

    def parts(self, tokenizer: TokenizerFiles) -> Iterator[tuple[Path, EnginePlan]]:
        """Folder and plan of the training rows, and of the evaluation rows when they have sources of their own."""
        data = self.config.data
        options: dict[str, Any] = {
            "config_dir": self.config_dir,
            "cache": paths.cache_folder(),
            "augment_seed": data.chosen_seed(self.config.seed),
        }
        for name, sources in (("", data.train), (EVAL, data.eval)):
            if sources:
                plan = make_plan(data, sources, self.config.stage, tokenizer, **options, as_they_are=name == EVAL)
                yield self.folder / name, plan


def plan(config: RunConfig, tokenizer: TokenizerFiles, folder: Path, *, config_dir: Path | None, bus: Bus) -> int:
    """Write into a new folder what is to be done, and find duplicates if that is asked for.

    Returns:
        How many units there are; more shards than these have nothing to do.

    Raises:
        ResourceError: the folder holds something else, or can't be written.
        DataError: a source can't be used.
    """
    job = Job(folder, config, config_dir)
    with paths.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if found := next(folder.iterdir(), None):
            raise ResourceError(
                f"`{folder}` is not empty: it holds `{found.name}`",
                hint="choose a new folder for the store",
                code="resource.folder-taken",
            )
        units = 0
        for place, made in job.parts(tokenizer):
            place.mkdir(exist_ok=True)
            progress = engine().Progress()
            with Watch(progress, bus):
                units += engine().plan_shards(made.json, str(place), progress)
        asked = {
            "config": _piped(config).model_dump(mode="json"),
            "config_dir": config_dir and str(config_dir.resolve()),
        }
        paths.write_atomic(folder / ASKED, json.dumps(asked))
    return units


def _piped(config: RunConfig) -> RunConfig:
    """The config with the file that standard input was saved as: shards have another one."""

    def named(source: SourceConfig) -> SourceConfig:
        if source.path != urls.STDIN:
            return source
        local = spool.stdin(Keep(paths.cache_folder()))["path"]
        return source.model_copy(update={"path": local, "name": source.name or names_by_path(source.path)[0]})

    data = config.data
    update = {"train": [named(each) for each in data.train], "eval": [named(each) for each in data.eval]}
    return config.model_copy(update={"data": data.model_copy(update=update)})


@dataclass(frozen=True)
class Done:
    """What a shard has done: rows, tokens made of them, and bytes of the rows."""

    rows: int = 0
    tokens: int = 0
    bytes: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(self.rows + other.rows, self.tokens + other.tokens, self.bytes + other.bytes)

    def __sub__(self, other: Done) -> Done:
        return Done(self.rows - other.rows, self.tokens - other.tokens, self.bytes - other.bytes)


def run(job: Job, tokenizer: TokenizerFiles, index: int, count: int, *, bus: Bus) -> tuple[Done, Done]:
    """Do shard `index` of `count`; what is done already is not done again.

    Returns:
        What was done now, and what was there before.

    Raises:
        DataError: a source can't be used, or has changed since the plan.
    """
    now = before = Done()
    for place, made in job.parts(tokenizer):
        progress = engine().Progress()
        with Watch(progress, bus):
            there = Done(*engine().run_shard(str(place), index, count, progress, made.fallback))
        now += Done(progress.rows, progress.tokens, progress.bytes_read) - there
        before += there
    return now, before


def commit(job: Job) -> list[str]:
    """Make the folder a store, and let this machine's cache know it, so that training finds it.

    Returns:
        The keys of the training rows and of the evaluation rows, if they have sources of their own.

    Raises:
        DataError: a shard is not done.
    """
    keys = []
    for name in ("", EVAL) if job.config.data.eval else ("",):
        place = job.folder / name
        try:
            key = engine().commit_shards(str(place))
        except DataError as error:
            if error.code != "data.store" or (place / MANIFEST).is_file():
                raise
            raise DataError(
                f"not all shards of `{job.folder}` are done: {error.message.rpartition(': ')[2]}",
                hint=f"run those that are missing, `fastft data run {job.folder} --shard I/N`; what is done stays",
                code="data.shards-missing",
            ) from error
        target = paths.cache_folder() / "tokens" / key
        if not (target / MANIFEST).is_file():
            with contextlib.suppress(FileExistsError), paths.new_folder(target) as work:
                link_tree(place, work)
        keys.append(key)
    return keys


def discard(folder: Path) -> None:
    """Remove a job's folder."""
    shutil.rmtree(folder, ignore_errors=True)
