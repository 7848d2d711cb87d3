"""Whether what a config asks of its rows can be done at all: rules, copies and the template, tried while rows are read.

`fastft data check` needs neither tokenizer nor store, so nothing would stumble over a broken pattern before
`prepare` does. Reading models, evaluation sets and dictionaries may take longer than the first error of the rows
should, so it is done by a thread of its own, behind what is quick.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.config.files import cleaning_file_problems
from fastft.core.errors import DataError, Problem
from fastft.data.cleaning import clean_plan, trial
from fastft.data.engine import engine
from fastft.data.plan import augment_plan, endpoints_unasked, roles_of_nothing
from fastft.data.templates import problem_of

if TYPE_CHECKING:
    from fastft.config.schema import DataConfig

PATIENCE_S = 0.5
"""How long rows wait for what is quick, so that it stands before them."""


def problems_of(data: DataConfig, config_dir: Path | None) -> list[Problem]:
    """Everything that `data` asks for and that can't be done, as far as it is known without looking at rows."""
    clean = clean_plan(data.clean, data.decontaminate, config_dir)
    template = problem_of(data.template, config_dir)
    return [*([template] if template else []), *trial(clean, augment_plan(data.augment, 0, {}, config_dir))]


class Trial:
    """Tries what `data` asks for, and tells each problem once.

    Args:
        data: what is asked for.
        config_dir: where relative paths are looked for when the working directory has no such file.
        tell: is called by the thread that calls the methods.
    """

    def __init__(self, data: DataConfig, config_dir: Path | None, tell: Callable[[Problem], None]) -> None:
        self._data, self._tell = data, tell
        self._problems = cleaning_file_problems(data.clean, data.decontaminate, config_dir)
        self._problems += endpoints_unasked(data.augment) if data.streaming else []
        self._template: Problem | None = None
        self._failed: BaseException | None = None
        self._quick = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(config_dir,), name="fastft-data-trial", daemon=True)
        self._thread.start()
        self._quick.wait(PATIENCE_S)

    def before(self, plan: str) -> None:
        """Tell what is known before the source of `plan` is read; the template's trouble if it has conversations."""
        if not self._quick.is_set():
            return
        self._tell_all()
        if self._template is not None:
            with suppress(DataError):  # what it is can't be told, which the engine says as a finding
                (look,) = json.loads(engine().looks(plan))
                if look["format"]["kind"] != "text":
                    self._tell_template()

    def end(self, train: Sequence[str | None], evaluation: Sequence[str | None]) -> None:
        """Tell the rest, after all rows.

        Args:
            train: the formats of the sources, None where one could not be told.
            evaluation: likewise.
        """
        self._thread.join()
        self._tell_all()
        if any(kind != "text" for kind in (*train, *evaluation)):
            self._tell_template()
        if self._data.augment and train and all(kind == "text" for kind in train):
            for problem in roles_of_nothing(self._data.augment):
                self._tell(problem)

    def _run(self, config_dir: Path | None) -> None:
        try:
            known = {problem.key for problem in self._problems}
            clean = clean_plan(self._data.clean, self._data.decontaminate, config_dir) or {}
            reads = {name for name, table in clean.items() if name == "decontaminate" or table.get("fasttext")}
            quick = {name: table for name, table in clean.items() if name not in reads}
            self._template = problem_of(self._data.template, config_dir)
            self._problems += [problem for problem in trial(quick) if problem.key not in known]
            self._quick.set()
            rest = {name: table for name, table in clean.items() if name in reads}
            tried = trial(rest, augment_plan(self._data.augment, 0, {}, config_dir))
            self._problems += [problem for problem in tried if problem.key not in known]
        except BaseException as error:  # whatever it is, it is raised again in the thread that asked
            self._failed = error
        finally:
            self._quick.set()

    def _tell_all(self) -> None:
        if self._failed is not None:
            raise self._failed
        while self._problems:
            self._tell(self._problems.pop(0))

    def _tell_template(self) -> None:
        if self._template is not None:
            self._tell(self._template)
            self._template = None
