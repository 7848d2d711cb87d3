"""Look at every row and keep nothing: what is wrong, where, and what was probably meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import ConfigError, DataError, Problem
from fastft.data.engine import engine
from fastft.data.plan import make_plan, names_of, not_ignored, plain_sources
from fastft.data.trial import Trial
from fastft.data.watch import Watch, tell_unused

if TYPE_CHECKING:
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig, SourceConfig
    from fastft.core.events import Bus


_INDEX = re.compile(r"\.(\d+)(?=\.|$)")
"""A number in a key of the config."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        source: the source's name, None where it is the config that can't be followed.
        file: its file, None when the trouble is with no single file.
        line: 1-based line on which the row begins, None when the source as a whole can't be used.
        path: the JSON path in the row, such as `messages[2].content`; the key in the config.
        code: stable, such as `E_MISSING`.
        reason: one sentence with what was expected.
        hint: what to do, where the source as a whole can't be used.
    """

    source: str | None
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


def place(file: str | None, line: int | None, path: str | None) -> str:
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
    placed: Callable[[Problem], Problem] = lambda problem: problem,
    bus: Bus,
) -> list[dict[str, Any]]:
    """Check every row of the training and evaluation sources, and whether `prepare` can do what `data` asks for.

    Args:
        data: which rows.
        stage: what rows have to be.
        found: is told each finding as soon as it is made, in the order of the data.
        tokenizer: rows are rendered and tokenized too; None looks at the rows themselves only.
        config_dir: where relative paths are looked for when the working directory has no such file.
        cache: folder of what is cached; None is fastft's.
        placed: finds where in the config a problem's key was written.
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

    trial = Trial(data, config_dir, lambda problem: found(finding_of(placed(problem))))
    for part, sources in (("train", data.train), ("eval", data.eval)):
        plain = plain_sources(sources, config_dir)
        # each by itself, so that one that can't be read hides nothing of the others
        for name, source in zip(names_of(plain), plain, strict=True):
            named = source.model_copy(update={"name": name})
            try:
                each = _check_source(data, named, stage, tokenizer, options, trial, tell)
            except DataError as error:
                found(Finding(name, error.path, error.line, None, error.code, error.message, error.hint))
                each = {**_UNREAD, "name": name, "bad": {error.code: 1}}
            checked.append({"part": part, **each})
    kinds = [[_kind(each) for each in checked if each["part"] == part] for part in ("train", "eval")]
    trial.end(*kinds)
    return checked


def _kind(checked: dict[str, Any]) -> str | None:
    return None if checked["format"] is None else str(checked["format"]["kind"])


def finding_of(problem: Problem) -> Finding:
    """A problem of the config as a finding; its key is written as the path in a row is."""
    origin, path = problem.origin, problem.key and _INDEX.sub(r"[\1]", problem.key)
    file, line = (None, None) if origin is None else (origin.source, origin.line)
    return Finding(None, file, line, path, problem.code, problem.message.removeprefix(f"`{path}`: "), problem.hint)


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
    trial: Trial,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    # what rules and copies do is asked of the trial; here rows are looked at as they are
    options = {**options, "as_they_are": True}
    plan, missing = make_plan(data, [source], stage, None, **options), None
    trial.before(plan.json)
    tokens = False
    if tokenizer is not None:
        try:
            plan, tokens = make_plan(data, [source], stage, tokenizer, **options), True
        except DataError as error:
            if error.code == "data.no-template":
                missing = Finding(source.name, None, None, "data.template", error.code, error.message, error.hint)
            # else it can't be used as a whole: the engine says why as a finding
        except ConfigError:  # its template is no template, which the trial tells
            pass
    progress, bus = engine().Progress(), options["bus"]
    with Watch(progress, bus):
        answer = engine().check(plan.json, progress, tell, tokens, plan.fallback)
    (checked,) = json.loads(answer)
    if missing is not None:
        tell(json.dumps([asdict(missing)]))
        checked["bad"][missing.code] = 1
    unused = not_ignored(plan.names, [source], [checked["unused"]])
    tell_unused(unused, bus)
    return {**checked, "unused": unused.get(checked["name"], [])}
