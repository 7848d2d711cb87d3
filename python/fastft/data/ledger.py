"""Rows of a stream that are not used: listed while they are met, and the end of a run that has too many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.core.events import Bus, Warned
from fastft.data.check import place

if TYPE_CHECKING:
    from fastft.data.stream import Stream

_FEW_ROWS = 1000
"""Rows before which a part of bad ones says nothing."""


@dataclass(frozen=True)
class News:
    """What came up since the last look, here or on all ranks.

    Attributes:
        rejected: rows that can't be used, each as JSON.
        left_out: rows that a rule left out, each as JSON.
        books: what became of all rows that were read so far.
    """

    rejected: Sequence[str] = ()
    left_out: Sequence[str] = ()
    books: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stream: Stream) -> News:
        """Those of a stream."""
        rejected, left_out = stream.native.rejected(), stream.native.left_out()
        return cls(rejected, left_out, stream.books() or {})

    @classmethod
    def together(cls, news: Iterable[News]) -> News:
        """Those of several readers of different rows."""
        every = list(news)
        return cls(
            [line for each in every for line in each.rejected],
            [line for each in every for line in each.left_out],
            _sum([each.books for each in every]),
        )


def _sum(values: Sequence[Any]) -> Any:
    """Add numbers that stand in the same place of tables and lists."""
    if isinstance(values[0], Mapping):
        names = dict.fromkeys(name for each in values for name in each)
        return {name: _sum([each[name] for each in values if name in each]) for name in names}
    if isinstance(values[0], list):
        return [_sum(each) for each in zip(*values, strict=True)]
    return sum(values)


class Ledger:
    """Lists rows that are not used while they are met, and ends the run when too many can't be.

    Args:
        folder: `rejected.jsonl` (rows that can't be used), `left_out.jsonl` (rows that a rule left out) and
            `books.json` are written there; None writes nothing.
        most: part of the rows that may be bad.
        bus: hears of the first bad row, and each time there are ten times as many.
    """

    def __init__(self, folder: Path | None, most: float, bus: Bus) -> None:
        self._folder, self._most, self._bus, self._next = folder, most, bus, 1
        # a resumed run meets the rows of its last groups again
        self._known = {name: self._listed(name) for name in ("rejected", "left_out")}

    def enter(self, news: News) -> None:
        """Take what came up since the last time.

        Raises:
            DataError: too many rows are bad.
        """
        bad_rows = self._list("rejected", news.rejected)
        left_out = self._list("left_out", news.left_out)
        if not bad_rows and not left_out:
            return
        books = news.books
        if self._folder is not None:
            paths.write_atomic(self._folder / "books.json", json.dumps(books, indent=2) + "\n")
        total = books["total"]
        bad, read = sum(total["quarantined"].values()), total["read"]
        rejected = None if self._folder is None else self._folder / "rejected.jsonl"
        if read >= _FEW_ROWS and bad > self._most * read:
            raise DataError(
                f"{bad:,} of the {read:,} rows read so far can't be used, "
                f"more than `data.max_bad_fraction` = {self._most:g}",
                hint=None if rejected is None else f"see {rejected}",
                code="data.too-many-bad",
            )
        if bad_rows and len(self._known["rejected"]) >= self._next:
            while self._next <= len(self._known["rejected"]):
                self._next *= 10
            first = bad_rows[0]
            self._bus.emit(
                Warned(
                    "data.quarantined",
                    f"{bad:,} of the {read:,} rows read so far can't be used, "
                    f"one is {place(first['file'], first['line'], first.get('at'))}: {first['code']}: {first['reason']}",
                    hint=None if rejected is None else f"each is listed with file, line and reason in {rejected}",
                )
            )

    def _listed(self, name: str) -> set[tuple[str, int]]:
        path = None if self._folder is None else self._folder / f"{name}.jsonl"
        if path is None or not path.is_file():
            return set()
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        return {(row["file"], row["line"]) for row in rows}

    def _list(self, name: str, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Write the rows that are new, and return them."""
        fresh, text = [], ""
        for line in lines:
            row = json.loads(line)
            if (row["file"], row["line"]) not in self._known[name]:
                self._known[name].add((row["file"], row["line"]))
                fresh.append(row)
                text += line + "\n"
        if fresh and self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
                file.write(text)
        return fresh
