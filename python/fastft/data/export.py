"""A prepared store in other tools' formats: Parquet, Hugging Face `save_to_disk`, Megatron `.bin` and `.idx`.

Rows go through in batches of about a million tokens, so memory does not grow with the store. What is
written appears under its name when it is whole and on the disk; a name that is taken is refused.

| column | |
| --- | --- |
| `input_ids` | token ids |
| `labels` | the id where the token carries a loss, else -100; not shifted |
| `weights` | of each token's loss; null where all are 1 |
| `position_ids`, `lengths` | of windows: positions, which begin at 0 with each document, and tokens of each |
| `source`, `row`, `line`, `variant`, `rank` | of single documents: where they come from and what they are |
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from fastft.core import paths
from fastft.core.errors import DataError, ResourceError
from fastft.data.engine import engine

if TYPE_CHECKING:
    from fastft.data.dataset import TokenStore

IGNORE = -100
_BATCH_TOKENS = 1 << 20
_SHARD_BYTES = 500 << 20
_MAGIC = b"MMIDIDX\x00\x00"
_CODES = {"uint8": 1, "int32": 4, "uint16": 8}
"""Megatron's numbers of token types (`DType` in `megatron/core/datasets/indexed_dataset.py`)."""

Tell = Callable[[int, int], None]
"""Hears documents (or windows) done and of how many."""


@dataclass(frozen=True)
class Packing:
    """Documents laid end to end in windows.

    Attributes:
        max_length: tokens of a window.
        seed: shuffles documents and windows as training would in its first epoch; None keeps the data's order.
    """

    max_length: int
    seed: int | None = None


def to_parquet(
    store: TokenStore, target: str | Path, *, packing: Packing | None = None, tell: Tell | None = None
) -> int:
    """Write one Parquet file, a row group a batch; returns how many rows it has.

    Raises:
        ResourceError: `target` exists, or can't be written.
        DataError: a document is longer than a window.
    """
    from pyarrow import parquet

    rows = 0
    schema = _schema(packing is not None)
    with _new_file(Path(target)) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in _batches(store, packing, tell):
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def to_datasets(
    store: TokenStore,
    target: str | Path,
    *,
    packing: Packing | None = None,
    shard_bytes: int = _SHARD_BYTES,
    tell: Tell | None = None,
) -> int:
    """Write a folder that `datasets.load_from_disk` opens; returns how many rows it has.

    Raises:
        ResourceError: `target` exists, or can't be written.
        DataError: a document is longer than a window.
    """
    schema = _schema(packing is not None)
    rows = 0
    with _new_folder(Path(target)) as folder:
        shards = _Shards(folder, schema, shard_bytes)
        for batch in _batches(store, packing, tell):
            shards.add(batch)
            rows += batch.num_rows
        shards.close()
        info = {"citation": "", "description": "", "features": _features(schema), "homepage": "", "license": ""}
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in shards.names],
            "_fingerprint": store.key[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        (folder / "dataset_info.json").write_text(json.dumps(info, indent=2), "utf-8")
        (folder / "state.json").write_text(json.dumps(state, indent=2), "utf-8")
    return rows


class _Shards:
    """Arrow streams of a bounded size; at least one."""

    def __init__(self, folder: Path, schema: pa.Schema, shard_bytes: int) -> None:
        self._folder, self._schema, self._bytes = folder, schema, shard_bytes
        self.names: list[str] = []
        self._open()

    def _open(self) -> None:
        self.names.append(f"data-{len(self.names):05d}.arrow")
        self._file = pa.OSFile(str(self._folder / self.names[-1]), "wb")
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    def add(self, batch: pa.RecordBatch) -> None:
        if self._file.tell() > self._bytes:
            self.close()
            self._open()
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def to_megatron(
    store: TokenStore,
    prefix: str | Path,
    *,
    packing: Packing | None = None,
    loss_mask: Literal["refuse", "drop", "file"] = "refuse",
    tell: Tell | None = None,
) -> int:
    """Write `<prefix>.bin` and `<prefix>.idx`, a sequence a document; returns how many there are.

    Args:
        store: the documents.
        prefix: path without its ending.
        packing: windows instead of documents.
        loss_mask: the format learns from all tokens. Where a store does not: `refuse` raises, `drop` leaves it
            away, `file` writes 0 and 1 for each token to `<prefix>_loss_mask.bin` and `.idx`.
        tell: hears how far it is.

    Raises:
        ResourceError: a target exists, or can't be written.
        DataError: the store has ranked answers or weights, or a loss mask that is refused.
    """
    prefix = Path(prefix)
    ids_type = "uint16" if store.manifest["id_bits"] == 16 else "int32"
    names = [prefix, prefix.with_name(f"{prefix.name}_loss_mask")] if loss_mask == "file" else [prefix]
    targets = [name.with_name(f"{name.name}.{ending}") for name in names for ending in ("bin", "idx")]
    with paths.writing(prefix), _beside(prefix, targets) as folder:
        with _Indexed(Path(folder) / "0", ids_type) as tokens, _Indexed(Path(folder) / "1", "uint8") as masks:
            for batch in _batches(store, packing, tell):
                ids, labels = batch.column("input_ids"), batch.column("labels")
                trained = labels.values.to_numpy() != IGNORE
                _check_plain(batch, trained, ids, loss_mask)
                lengths = np.diff(ids.offsets.to_numpy())
                tokens.add(ids.values.to_numpy(), lengths)
                if loss_mask == "file":
                    masks.add(trained, lengths)
        written = [Path(folder) / f"{number}.{ending}" for number in range(len(names)) for ending in ("bin", "idx")]
        for temporary, target in zip(written, targets, strict=True):  # the index last: without it there is no data set
            temporary.replace(target)
        paths.sync_folder(_parent(prefix))
    return tokens.count


class _Indexed:
    """Megatron's pair of files: tokens, and where each sequence and document begins."""

    def __init__(self, prefix: Path, kind: str) -> None:
        self._type = np.dtype(kind)
        self._prefix = prefix
        self._bin = prefix.with_suffix(".bin").open("wb")
        self._lengths: list[Any] = []
        self.count = 0

    def add(self, tokens: Any, lengths: Any) -> None:
        self._bin.write(tokens.astype(self._type.newbyteorder("<"), copy=False).tobytes())
        self._lengths.append(lengths.astype("<i4"))
        self.count += len(lengths)

    def __enter__(self) -> _Indexed:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._bin.close()
            return
        _sync(self._bin)
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty(0, "<i4")
        pointers = np.zeros(len(lengths), "<i8")
        np.cumsum(lengths[:-1].astype("<i8") * self._type.itemsize, out=pointers[1:])
        with self._prefix.with_suffix(".idx").open("wb") as file:
            file.write(_MAGIC)
            file.write((1).to_bytes(8, "little"))
            file.write(bytes([_CODES[self._type.name]]))
            file.write(len(lengths).to_bytes(8, "little"))
            file.write((len(lengths) + 1).to_bytes(8, "little"))
            lengths.tofile(file)
            pointers.tofile(file)
            np.arange(len(lengths) + 1, dtype="<i8").tofile(file)
            _sync(file)


def _check_plain(batch: pa.RecordBatch, trained: Any, ids: Any, loss_mask: str) -> None:
    if "rank" in batch.schema.names and batch.column("rank").to_numpy().any():
        raise DataError(
            "the store has ranked answers, which Megatron's format can't hold: worse ones would be learnt like better",
            hint="export it as parquet or datasets, which keep `rank`",
            code="data.export",
        )
    if batch.column("weights").null_count < batch.num_rows and loss_mask != "drop":
        raise DataError(
            "the store has weights of losses, which Megatron's format can't hold",
            hint='export it as parquet or datasets, or leave them away with `loss_mask = "drop"`',
            code="data.export",
        )
    if loss_mask == "refuse":
        first = np.zeros(len(trained), bool)
        first[ids.offsets.to_numpy()[:-1]] = True  # nobody predicts a first token
        if not (trained | first).all():
            raise DataError(
                "not every token of the store carries a loss, and Megatron's format learns from all",
                hint='`loss_mask = "file"` writes the mask beside it, `"drop"` leaves it away',
                code="data.export",
            )


def _batches(store: TokenStore, packing: Packing | None, tell: Tell | None) -> Iterator[pa.RecordBatch]:
    return _documents(store, tell) if packing is None else _windows(store, packing, tell)


def _documents(store: TokenStore, tell: Tell | None) -> Iterator[pa.RecordBatch]:
    """The store's documents in their order."""
    chosen = None if store.side == "all" else np.frombuffer(store.native.chosen(), "<u4")
    sources = [source["name"] for source in store.manifest["sources"]]
    first = done = 0
    for section in store.manifest["parts"]:
        with pa.memory_map(str(store.folder / section["name"])) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                count = batch.num_rows
                if chosen is not None:
                    begin, end = np.searchsorted(chosen, (first, first + count))
                    batch = batch.take(pa.array(chosen[begin:end] - first))
                first += count
                if batch.num_rows:
                    done += batch.num_rows
                    yield _record(batch, section, sources[section["source"]])
                    if tell is not None:
                        tell(done, len(store))


def _record(batch: pa.RecordBatch, section: dict[str, Any], source: str) -> pa.RecordBatch:
    count = batch.num_rows
    ids, spans, runs = (batch.column(name) for name in ("ids", "spans", "weights"))
    offsets = ids.offsets.to_numpy() - ids.offsets[0].as_py()
    values = ids.flatten().to_numpy().astype(np.int32)
    ends = spans.flatten().to_numpy().astype(np.int64).reshape(-1, 2)
    owners = np.repeat(np.arange(count), np.diff(spans.offsets.to_numpy()) // 2)
    ends += offsets[owners].astype(np.int64)[:, None]
    trained = _runs(ends, np.ones(len(ends), np.int32), len(values)) > 0
    weighted = np.diff(runs.offsets.to_numpy()) > 0
    per_run = np.ones(len(ends), np.float32)
    per_run[weighted[owners]] = runs.flatten().to_numpy()
    weights = np.zeros(len(values), np.float32)
    weights[trained] = np.repeat(per_run, ends[:, 1] - ends[:, 0])  # runs are in order and apart
    columns = [
        _list(values, offsets),
        _list(np.where(trained, values, IGNORE).astype(np.int32), offsets),
        _list(weights, offsets, ~weighted),
        pa.array([source]).take(pa.array(np.zeros(count, np.int32))),
        pa.array(batch.column("row").to_numpy().astype(np.int64) + section["first_row"]),
        pa.array(batch.column("line").to_numpy().astype(np.int64) + section["first_line"]),
        pa.array(batch.column("variant").to_numpy().astype(np.int32)),
        pa.array(batch.column("rank").to_numpy().astype(np.int32)),
    ]
    return pa.record_batch(columns, schema=_schema(False))


def _runs(ends: Any, values: Any, length: int) -> Any:
    """`values[i]` from `ends[i, 0]` to `ends[i, 1]`, added up, elsewhere 0."""
    steps = np.zeros(length + 1, np.int32)
    np.add.at(steps, ends[:, 0], values)
    np.add.at(steps, ends[:, 1], -values)
    return np.cumsum(steps)[:-1]


def _windows(store: TokenStore, packing: Packing, tell: Tell | None) -> Iterator[pa.RecordBatch]:
    """Windows in the order of an epoch."""
    shuffle = None if packing.seed is None else (packing.seed & (2**64 - 1), 0)
    windows = engine().Windows(store.native, packing.max_length, "best-fit", json.dumps(store.mix), shuffle)
    at_a_time = max(1, _BATCH_TOKENS // packing.max_length)
    for begin in range(0, len(windows), at_a_time):
        places = list(range(begin, min(begin + at_a_time, len(windows))))
        sizes = [windows.measure([place]) for place in places]
        tokens, documents, weighted = windows.measure(places)
        ids, targets, positions = (np.empty(tokens, np.int64) for _ in range(3))
        boundaries = np.empty(documents + 1, np.int32)
        weights = np.zeros(tokens, np.float32) if weighted else None
        ranks = np.empty(documents, np.int32) if windows.ranked else None
        windows.fill(places, ids, targets, positions, boundaries, weights, ranks)
        if ranks is not None and ranks.any():
            raise DataError(
                "the store has ranked answers; in windows nothing would tell the better from the worse",
                hint="export it without packing, which keeps `rank`",
                code="data.export",
            )
        labels = np.concatenate(([IGNORE], targets[:-1])).astype(np.int32)
        offsets = np.cumsum([0, *(size[0] for size in sizes)]).astype(np.int32)
        counts = np.cumsum([0, *(size[1] for size in sizes)]).astype(np.int32)
        losses = np.zeros(tokens, np.float32) if weights is None else np.concatenate(([0.0], weights[:-1]))
        plain = np.array([not size[2] for size in sizes])
        columns = [
            _list(ids.astype(np.int32), offsets),
            _list(labels, offsets),
            _list(losses.astype(np.float32), offsets, plain),
            _list(positions.astype(np.int32), offsets),
            _list(np.diff(boundaries), counts),
        ]
        yield pa.record_batch(columns, schema=_schema(True))
        if tell is not None:
            tell(places[-1] + 1, len(windows))


def _list(values: Any, offsets: Any, absent: Any = None) -> pa.ListArray:
    mask = None if absent is None or not absent.any() else pa.array(absent)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values), mask=mask)


def _schema(packed: bool) -> pa.Schema:
    whole, parts = pa.list_(pa.int32()), pa.list_(pa.float32())
    fields = [("input_ids", whole), ("labels", whole), ("weights", parts)]
    if packed:
        fields += [("position_ids", whole), ("lengths", whole)]
    else:
        fields += [("source", pa.string()), ("row", pa.int64()), ("line", pa.int64())]
        fields += [("variant", pa.int32()), ("rank", pa.int32())]
    return pa.schema(fields)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The columns as `datasets` describes them; versions 2 to 5 read `Sequence`."""

    def value(kind: pa.DataType) -> dict[str, Any]:
        names = {pa.float32(): "float32", pa.int32(): "int32", pa.int64(): "int64", pa.string(): "string"}
        return {"dtype": names[kind], "_type": "Value"}

    return {
        field.name: {"feature": value(field.type.value_type), "_type": "Sequence"}
        if pa.types.is_list(field.type)
        else value(field.type)
        for field in schema
    }


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A file that appears at `target` when the block ends, durably, and not at all when it raises."""
    with paths.writing(target), _whole_file(target) as temporary:
        yield temporary


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    _refuse_existing(target)
    handle, name = tempfile.mkstemp(dir=_parent(target), prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    paths.sync_folder(target.parent)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    with paths.writing(target):
        _refuse_existing(target)
        with paths.new_folder(target) as folder:
            yield folder


@contextmanager
def _beside(prefix: Path, targets: Sequence[Path]) -> Iterator[str]:
    """A folder for files that get their names when all are whole."""
    for target in targets:
        _refuse_existing(target)
    with tempfile.TemporaryDirectory(dir=_parent(prefix), prefix=f".{prefix.name}.") as folder:
        yield folder


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise ResourceError(f"`{target}` exists", hint="remove it or choose another name", code="resource.exists")


def _parent(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.parent


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
