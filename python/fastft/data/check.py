"""Look at every row and keep nothing: what is wrong, where, and what was probably meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.data.engine import engine
from fastft.data.plan import make_plan, names_of, not_ignored, plain_sources
from fastft.data.watch import Watch, tell_unused

if TYPE_CHECKING:
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig, SourceConfig
    from fastft.core.events import Bus


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        source: the source's name.
        file: its file, None when the trouble is with no single file.
        line: 1-based line on which the row begins, None when the source as a whole can't be used.
        path: the JSON path in the row, such as `messages[2].content`.
        code: stable, such as `E_MISSING`.
        reason: one sentence with what was expected.
        hint: what to do, where the source as a whole can't be used.
    """

    source: str
    file: str | None
    line: int | None
    path: str | None
    code: str
    reason: str
    hint: str | None

    @property
    def place(self) -> str:
        """File, line and path, joined by colons."""
        return place(self.file or self.source, self.line, self.path)


def place(file: str, line: int | None, path: str | None) -> str:
    """Where in a row something is wrong, as all reports say it: file, line and JSON path as far as they are known."""
    return ":".join(str(part) for part in (file, line, path) if part is not None)


def check(
    data: DataConfig,
    stage: Stage,
    *,
    found: Callable[[Finding], None],
    tokenizer: TokenizerFiles | None = None,
    config_dir: Path | None = None,
    cache: Path | None = None,
    bus: Bus,
) -> list[dict[str, Any]]:
    """Check every row of the training and evaluation sources.

    Args:
        data: which rows.
        stage: what rows have to be.
        found: is told each finding as soon as it is made, in the order of the data.
        tokenizer: rows are rendered and tokenized too; None looks at the rows themselves only.
        config_dir: where relative paths are looked for when the working directory has no such file.
        cache: folder of what is cached; None is fastft's.
        bus: hears of progress, and of columns that nothing reads.

    Returns:
        For each source `part` (train or eval), `name`, `format`, `guessed`, `files`, `read`, `bytes`, `bad` (rows by
        code), `too_long`, `unused` (columns that nothing reads) and `warnings`.
    """
    options: dict[str, Any] = {"config_dir": config_dir, "cache": cache or paths.cache_folder(), "bus": bus}
    checked: list[dict[str, Any]] = []

    def tell(text: str) -> None:
        for finding in json.loads(text):
            found(Finding(**finding))

    for part, sources in (("train", data.train), ("eval", data.eval)):
        plain = plain_sources(sources, config_dir)
        # each by itself, so that one that can't be read hides nothing of the others
        for name, source in zip(names_of(plain), plain, strict=True):
            named = source.model_copy(update={"name": name})
            try:
                each = _check_source(data, named, stage, tokenizer, options, part == "eval", tell)
            except DataError as error:
                found(Finding(name, error.path, error.line, None, error.code, error.message, error.hint))
                each = {**_UNREAD, "name": name, "bad": {error.code: 1}}
            checked.append({"part": part, **each})
    return checked


_UNREAD: dict[str, Any] = {
    "format": None,
    "guessed": False,
    "files": 0,
    "read": 0,
    "bytes": 0,
    "too_long": 0,
    "unused": [],
    "warnings": [],
}
"""What is known of a source that can't be read to its end."""


def _check_source(
    data: DataConfig,
    source: SourceConfig,
    stage: Stage,
    tokenizer: TokenizerFiles | None,
    options: dict[str, Any],
    as_they_are: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    tokens = tokenizer is not None
    try:
        plan = make_plan(data, [source], stage, tokenizer, **options, as_they_are=as_they_are)
    except DataError:  # it can't be used as a whole: the engine says why as a finding
        tokens = False
        plan = make_plan(data, [source], stage, None, **options, as_they_are=as_they_are)
    progress, bus = engine().Progress(), options["bus"]
    with Watch(progress, bus):
        answer = engine().check(plan.json, progress, tell, tokens, plan.fallback)
    (checked,) = json.loads(answer)
    unused = not_ignored(plan.names, [source], [checked["unused"]])
    tell_unused(unused, bus)
    return {**checked, "unused": unused.get(checked["name"], [])}
