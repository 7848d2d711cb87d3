"""What the commands share: from a config to prepared data, with progress on stderr."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.cli.data.progress import Progress
from fastft.core.errors import ConfigError
from fastft.core.events import Bus

if TYPE_CHECKING:
    from fastft.config.load import Loaded
    from fastft.data import Prepared


@dataclass(frozen=True)
class Cost:
    """What something took: wall time, CPU time of all threads, and the most memory this process held so far."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Clock:
    """Measures what is done from its making on."""

    def __init__(self) -> None:
        self._begin, self._begin_cpu = time.monotonic(), time.process_time()

    def cost(self) -> Cost:
        """What it took so far."""
        return Cost(time.monotonic() - self._begin, time.process_time() - self._begin_cpu, _peak_bytes())


def loaded_config(config: Path, overrides: tuple[str, ...]) -> Loaded:
    """The config, with every problem told, files it names included.

    Raises:
        ConfigError: where files are not there, with what else the data engine could not do.
    """
    from fastft.config.load import load

    try:
        return load(config, overrides, files=True)
    except ConfigError as error:
        loaded = load(config, overrides)  # what is wrong with the config itself is told alone
        from fastft.data.trial import problems_of

        known = {problem.key for problem in error.problems}
        more = [each for each in problems_of(loaded.config.data, loaded.folder) if each.key not in known]
        raise ConfigError([*error.problems, *map(loaded.placed, more)]) from None


def prepare(loaded: Loaded) -> tuple[Prepared, Cost]:
    """Prepare the data of a config, or find it."""
    from fastft import data
    from fastft.models import tokenizer_files

    config = loaded.config
    clock = Clock()
    progress = Progress()
    try:
        with loaded.placing():
            prepared = data.prepare(
                config.data,
                config.stage,
                tokenizer_files(config.model),
                seed=config.seed,
                eval_fraction=config.eval.fraction,
                config_dir=loaded.folder,
                bus=Bus([progress]),
            )
    finally:
        progress.close()
    return prepared, clock.cost()


def prepare_on_ray(loaded: Loaded, address: str | None) -> None:
    """Let a Ray cluster fill the cache."""
    from fastft.data.ray import prepare_on_ray as fill
    from fastft.models import tokenizer_files

    progress = Progress()
    try:
        with loaded.placing():
            fill(
                loaded.config,
                tokenizer_files(loaded.config.model),
                config_dir=loaded.folder,
                address=address,
                bus=Bus([progress]),
            )
    finally:
        progress.close()


def table_data(prepared: Prepared) -> dict[str, Any]:
    """What the table of books is made from."""
    return {"books": prepared.books, "sources": prepared.sources}


def _peak_bytes() -> int:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
