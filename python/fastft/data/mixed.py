"""One epoch as sources are mixed: what it is made of, and its rows in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import ResourceError, UnsupportedError
from fastft.data.engine import engine
from fastft.data.stats import Packed, counted

if TYPE_CHECKING:
    from fastft.config.schema import DataConfig
    from fastft.data.dataset import TokenStore


@dataclass(frozen=True)
class Sample:
    """One document at its place in the epoch.

    Attributes:
        place: 0-based.
        source: the source's name.
        file: where its row is.
        line: 1-based line on which the row begins.
        row: 0-based number of the row in its source.
        tokens: of the document.
    """

    place: int
    source: str
    file: str
    line: int
    row: int
    tokens: int

    def record(self) -> dict[str, Any]:
        """The same as one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Mixed:
    """An epoch before packing.

    Attributes:
        packed: its counts, a document a window.
    """

    packed: Packed
    _store: TokenStore
    _order: Any

    def __iter__(self) -> Iterator[Sample]:
        """The documents in order; the members of a group stand together."""
        names = [source["name"] for source in self._store.manifest["sources"]]
        files = [file["path"] for file in self._store.manifest["files"]]
        place = 0
        for window in range(len(self._order)):
            for source, file, row, line, tokens in self._order.rows(window):
                yield Sample(place, names[source], files[file], line, row, tokens)
                place += 1

    def first(self, count: int) -> list[Sample]:
        """The first so many."""
        return [sample for sample, _ in zip(self, range(count), strict=False)]

    def write(self, path: Path) -> None:
        """Write all, one object a line, into a new file that appears whole.

        Raises:
            ResourceError: it is there already, or can't be written.
        """
        if path.exists():
            raise ResourceError(f"`{path}` is there already", hint="name a new file", code="resource.file-taken")
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(sample.record(), ensure_ascii=False) + "\n" for sample in self)
            temporary.replace(path)
        except OSError as error:
            said = f"`{path}` can't be written: {(error.strerror or str(error)).lower()}"
            raise ResourceError(said, hint="name a file in a folder you may write to", code="resource.disk") from error
        finally:
            temporary.unlink(missing_ok=True)


def mixed(store: TokenStore, data: DataConfig, seed: int, epoch: int) -> Mixed:
    """Plan an epoch without packing.

    Raises:
        UnsupportedError: the order is that of streaming, which has no list of rows.
    """
    if data.order == "block":
        raise UnsupportedError(
            "rows in the order of streaming (`block`) are not listed, they are made window by window",
            hint="look at the mixture with --set data.shuffle=global",
            code="unsupported.mix-order",
        )
    shuffle = (seed & (2**64 - 1), epoch) if data.order == "global" else None
    order = engine().Windows(store.native, data.max_length, "none", json.dumps(store.mix), shuffle)
    return Mixed(counted(order, store, data.max_length), store, order)
