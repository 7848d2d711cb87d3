"""See rows as the model will be shown them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core import paths
from fastft.core.events import Warned
from fastft.data.check import place
from fastft.data.engine import engine
from fastft.data.plan import make_plan
from fastft.data.watch import tell_unused

if TYPE_CHECKING:
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig
    from fastft.core.events import Bus


@dataclass(frozen=True)
class PreviewRow:
    """One row before truncation and packing.

    Attributes:
        source: the source's name.
        row: its 0-based number among the rows of its source.
        text: as the template renders it.
        ids: what the tokenizer makes of it.
        trained: for each id, 1 if it carries a loss, else 0.
    """

    source: str
    row: int
    text: str
    ids: list[int]
    trained: list[int]


def preview(
    data: DataConfig,
    stage: Stage,
    tokenizer: TokenizerFiles,
    *,
    rows: int,
    config_dir: Path | None = None,
    cache: Path | None = None,
    bus: Bus | None = None,
) -> Iterator[PreviewRow]:
    """The first `rows` good rows of each training source.

    Rows that can't be used are told to `bus` as warnings with file, line, path in the row and reason, as `check` does.

    Raises:
        DataError: a source can't be used.
        ConfigError: the template can't be found.
    """
    cache = cache or paths.cache_folder()
    plan = make_plan(data, data.train, stage, tokenizer, config_dir=config_dir, cache=cache, bus=bus)
    if bus is not None:
        tell_unused(plan.unused, bus)
    for row in json.loads(engine().preview(plan.json, rows, plan.fallback)):
        if "code" not in row:
            yield PreviewRow(row["source"], row["row"], row["text"], row["ids"], row["trained"])
        elif bus is not None:
            where = place(row["file"], row["line"], row.get("at"))
            bus.emit(Warned("data.quarantined", f"{where}: {row['code']}: {row['reason']}"))
