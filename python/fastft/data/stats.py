"""How much there is to learn from: lengths, what shorter windows would cut, how well windows fill.

Lengths are those before any row was cut or left out; the engine counts them in buckets while it prepares,
whose bounds are the powers of two and sixteen steps between them (`rust/record/src/lengths.rs`). So a second
look at the data is not needed, and counts at a bound are exact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fastft.data.engine import engine

if TYPE_CHECKING:
    from fastft.config.schema import DataConfig
    from fastft.data.dataset import TokenStore
    from fastft.data.prepare import Prepared

_PERCENTILES = (50, 75, 90, 95, 99)
_SHORTEST = 128
"""The least `max_length` of the report on cuts."""


@dataclass(frozen=True)
class Packed:
    """The windows of the first epoch, as sources are mixed.

    Attributes:
        windows: how many.
        documents: in all of them; one that is used several times counts as often.
        tokens: in all of them.
        fill: part of the windows' room that tokens take.
        sources: for each source `source`, `documents`, `tokens` and `share` of the tokens.
    """

    windows: int
    documents: int
    tokens: int
    fill: float
    sources: list[dict[str, Any]]


@dataclass(frozen=True)
class Bucket:
    """Rows of at most `bound` tokens that no earlier bucket holds."""

    bound: int
    rows: int
    tokens: int


@dataclass(frozen=True)
class Cut:
    """What a `max_length` would cut.

    Attributes:
        max_length: of a row.
        rows: that are longer.
        tokens: of these rows beyond `max_length`, which `right` or `left` takes away.
        whole_tokens: all tokens of these rows, which `drop` takes away.
        exact: False where `max_length` lies within a bucket; the bucket's rows are then taken as evenly spread.
    """

    max_length: int
    rows: int
    tokens: int
    whole_tokens: int
    exact: bool


@dataclass(frozen=True)
class Stats:
    """How much there is to learn from.

    Attributes:
        books: what became of each row, in total and by source.
        lengths: of rows before cutting, ascending.
        mean: tokens of a row.
        percentiles: by percent, the bound of the bucket in which it lies.
        cuts: what several values of `max_length` would cut, the config's among them.
        packed: the windows of the training rows.
    """

    books: dict[str, Any]
    lengths: list[Bucket]
    mean: float
    percentiles: dict[int, int]
    cuts: list[Cut]
    packed: Packed

    def record(self) -> dict[str, Any]:
        """The same as JSON values."""
        record = asdict(self)
        record["percentiles"] = {f"p{percent}": length for percent, length in self.percentiles.items()}
        return record


def measure(prepared: Prepared, data: DataConfig, seed: int) -> Stats:
    """Measure prepared data.

    Args:
        prepared: its books and store.
        data: the config that it was prepared by.
        seed: of the order of rows, when `data.seed` is absent.
    """
    total = prepared.books["total"]
    counted = ((int(bound), rows, tokens) for bound, (rows, tokens) in total["lengths"].items())
    lengths = [Bucket(*each) for each in sorted(counted)]
    rows = sum(bucket.rows for bucket in lengths)
    longest = lengths[-1].bound if lengths else 0
    return Stats(
        books={"total": _plain(total), "sources": {name: _plain(b) for name, b in prepared.books["sources"].items()}},
        lengths=lengths,
        mean=sum(bucket.tokens for bucket in lengths) / rows if rows else 0.0,
        percentiles={percent: _percentile(lengths, percent * rows / 100) for percent in _PERCENTILES} if rows else {},
        cuts=[_cut(lengths, length) for length in _candidates(longest, data.max_length)],
        packed=packed(prepared.train, data.max_length, data.packing, seed if data.seed is None else data.seed),
    )


def packed(store: TokenStore, max_length: int, packing: str, seed: int) -> Packed:
    """Plan the first epoch's windows."""
    windows = engine().Windows(store.native, max_length, packing, json.dumps(store.mix), (seed & (2**64 - 1), 0))
    return counted(windows, store, max_length)


def counted(windows: Any, store: TokenStore, max_length: int) -> Packed:
    """Count what is in the engine's windows."""
    counts = windows.by_source()
    documents, tokens = (sum(count[which] for count in counts) for which in (0, 1))
    sources = [
        {"source": source["name"], "documents": count[0], "tokens": count[1], "share": count[1] / max(tokens, 1)}
        for source, count in zip(store.manifest["sources"], counts, strict=True)
    ]
    room = len(windows) * max_length
    return Packed(len(windows), documents, tokens, tokens / room if room else 0.0, sources)


def _plain(books: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in books.items() if name != "lengths"}


def _percentile(lengths: Sequence[Bucket], wanted: float) -> int:
    seen = 0
    for bucket in lengths:
        seen += bucket.rows
        if seen >= wanted:
            return bucket.bound
    return lengths[-1].bound


def _candidates(longest: int, chosen: int) -> list[int]:
    """Powers of two up to the first that cuts nothing, and the config's own."""
    found = {chosen}
    length = _SHORTEST
    while length < 2 * longest:
        found.add(length)
        length *= 2
    return sorted(found)


def _cut(lengths: Sequence[Bucket], max_length: int) -> Cut:
    rows, whole, exact = 0.0, 0.0, True
    for bucket in lengths:
        first = _first(bucket.bound)
        if first > max_length:
            rows += bucket.rows
            whole += bucket.tokens
        elif bucket.bound > max_length:  # it lies on both sides
            exact = False
            longer = bucket.rows * (bucket.bound - max_length) / (bucket.bound - first + 1)
            rows += longer
            whole += longer * (max_length + 1 + bucket.bound) / 2
    return Cut(max_length, round(rows), round(whole - rows * max_length), round(whole), exact)


def _first(bound: int) -> int:
    """The shortest length that belongs in a bucket."""
    if bound <= 32:
        return bound
    return bound - (1 << ((bound - 1).bit_length() - 1)) // 16 + 1
