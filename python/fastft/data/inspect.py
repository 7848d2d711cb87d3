"""See rows as the model will be shown them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """One document of a row as training sees it, before packing.

    Attributes:
        source: the source's name.
        row: its 0-based number among the rows of its source.
        text: as the template renders it, cleaned and cut.
        ids: what the tokenizer makes of it.
        trained: for each id, 1 if it carries a loss, else 0.
        changed: names of the repairs and masks that changed the row.
        cut: how many tokens of the row `data.truncate` took away, over all its documents.
        copy: 0 for the row itself, else the number of an altered copy.
        file: where the row stands.
        line: 1-based line on which it begins there.
        dropped: the rule that leaves the row out, None when it stays; it is shown as it was then, and nothing of it is
            trained.
        detail: what the rule found.
    """

    source: str
    row: int
    text: str
    ids: list[int]
    trained: list[int]
    changed: list[str]
    cut: int
    copy: int
    file: str
    line: int
    dropped: str | None = None
    detail: str | None = None

    @property
    def place(self) -> str:
        """File and line, joined by a colon."""
        return place(self.file, self.line, None)


@dataclass(frozen=True)
class RejectedRow:
    """A row that can't be used.

    Attributes:
        source: the source's name.
        row: its 0-based number among the rows of its source.
        file: where it stands.
        line: 1-based line on which it begins there.
        path: the JSON path in the row, such as `messages[2].content`; None when it is the row as a whole.
        code: stable, such as `E_MISSING`.
        reason: one sentence with what was expected.
    """

    source: str
    row: int
    file: str
    line: int
    path: str | None
    code: str
    reason: str


def preview(
    data: DataConfig,
    stage: Stage,
    tokenizer: TokenizerFiles,
    *,
    rows: int,
    rejected: Callable[[RejectedRow], None] | None = None,
    seed: int = 0,
    config_dir: Path | None = None,
    cache: Path | None = None,
    bus: Bus | None = None,
) -> Iterator[PreviewRow]:
    """The first `rows` rows of each training source that can be used, and what becomes of each.

    Rows that can't be used are told to `bus` as warnings with file, line, path in the row and reason, as `check` does.
    Duplicates are not looked for, which takes all rows, and no endpoint is asked for copies.

    Args:
        data: which rows, and how they become tokens.
        stage: which tokens carry a loss.
        tokenizer: makes ids.
        rows: how many of each source.
        rejected: is told each row that can't be used, in the order of the data.
        seed: of the altered copies, when `data.seed` is absent.
        config_dir: where relative paths are looked for when the working directory has no such file.
        cache: folder of what is cached; None is fastft's.
        bus: hears of rows that can't be used.

    Raises:
        DataError: a source can't be used.
        ConfigError: the template can't be found, or an option can't be met.
    """
    options: dict[str, Any] = {"config_dir": config_dir, "cache": cache or paths.cache_folder(), "bus": bus}
    chosen = data.chosen_seed(seed)
    plan = make_plan(data, data.train, stage, tokenizer, **options, augment_seed=chosen, asks=True)
    if bus is not None:
        tell_unused(plan.unused, bus)
    for row in json.loads(engine().preview(plan.json, rows, plan.fallback)):
        if "code" not in row:
            yield PreviewRow(**{each.name: row[each.name] for each in fields(PreviewRow) if each.name in row})
            continue
        bad = RejectedRow(
            row["source"], row["row"], row["file"], row["line"], row.get("at"), row["code"], row["reason"]
        )
        if rejected is not None:
            rejected(bad)
        if bus is not None:
            where = place(bad.file, bad.line, bad.path)
            bus.emit(Warned("data.quarantined", f"{where}: {bad.code}: {bad.reason}"))
