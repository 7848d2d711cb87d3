"""Stores in other tools' formats: the same tokens and losses, whole or not at all, without the store in memory."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_helpers import Kitchen, chat, write_jsonl

from fastft.core.errors import DataError, ResourceError
from fastft.data import export
from fastft.data.dataset import TokenStore
from fastft.data.export import IGNORE, Packing, to_datasets, to_megatron, to_parquet

Columns = dict[str, list[Any]]


@pytest.fixture(scope="module")
def store(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    folder = tmp_path_factory.mktemp("rows")
    rows = [chat(f"question {'why ' * (index % 9)}{index}", f"answer {index}") for index in range(60)]
    rows[7]["messages"] += [
        {"role": "user", "content": "and now?"},
        {"role": "assistant", "content": "less so", "weight": 0.5},
    ]
    path = write_jsonl(folder / "rows.jsonl", rows)
    return kitchen.prepare(path, template="chatml").train


def expected(store: TokenStore) -> Columns:
    """Ids and labels by the plain way."""
    found: Columns = {"input_ids": [], "labels": []}
    for index in range(len(store)):
        ids, trained = store.document(index)
        found["input_ids"].append(ids)
        found["labels"].append([i if t else IGNORE for i, t in zip(ids, trained, strict=True)])
    return found


def read(path: Path) -> Columns:
    from pyarrow import parquet

    return parquet.read_table(path).to_pydict()


def test_parquet_has_the_tokens_and_where_they_come_from(store: TokenStore, tmp_path: Path) -> None:
    assert to_parquet(store, tmp_path / "out.parquet") == len(store) == 60
    found = read(tmp_path / "out.parquet")
    want = expected(store)
    assert (found["input_ids"], found["labels"]) == (want["input_ids"], want["labels"])
    assert (found["row"], found["line"]) == (list(range(60)), list(range(1, 61)))
    assert (set(found["source"]), set(found["rank"]), set(found["variant"])) == ({"rows"}, {0}, {0})


def test_weights_are_of_each_token_and_null_where_all_are_one(store: TokenStore, tmp_path: Path) -> None:
    to_parquet(store, tmp_path / "out.parquet")
    found = read(tmp_path / "out.parquet")
    assert [row for row, weights in enumerate(found["weights"]) if weights is not None] == [7]
    weights, labels = np.array(found["weights"][7]), np.array(found["labels"][7])
    assert (weights[labels == IGNORE] == 0).all()
    assert set(weights[labels != IGNORE]) == {1.0, 0.5}


def test_batches_of_any_size_give_the_same_rows(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = Packing(256)
    to_parquet(store, tmp_path / "a.parquet", packing=packing)
    monkeypatch.setattr(export, "_BATCH_TOKENS", 1)
    to_parquet(store, tmp_path / "b.parquet", packing=packing)
    assert read(tmp_path / "a.parquet") == read(tmp_path / "b.parquet")


def test_windows_hold_every_document_once_and_start_positions_anew(store: TokenStore, tmp_path: Path) -> None:
    for seed in (None, 3):
        name = tmp_path / f"{seed}.parquet"
        to_parquet(store, name, packing=Packing(256, seed))
        found = read(name)
        documents = []
        for ids, labels, positions, lengths in zip(
            *(found[column] for column in ("input_ids", "labels", "position_ids", "lengths")), strict=True
        ):
            assert len(ids) == len(labels) == len(positions) == sum(lengths) <= 256
            at = 0
            for length in lengths:
                assert positions[at : at + length] == list(range(length))
                documents.append((ids[at : at + length], labels[at : at + length]))
                at += length
        want = expected(store)
        assert sorted(documents) == sorted(zip(want["input_ids"], want["labels"], strict=True))
        assert len(found["lengths"]) < len(store)
    assert read(tmp_path / "None.parquet") != read(tmp_path / "3.parquet")


def test_a_side_of_a_split_is_exported_alone(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q {index}", f"a {index}") for index in range(40)])
    made = kitchen.prepare(path, template="chatml", eval_fraction=0.3)
    assert made.eval is not None
    lines = []
    for name, side in (("train", made.train), ("eval", made.eval)):
        assert to_parquet(side, tmp_path / f"{name}.parquet") == len(side) > 0
        found = read(tmp_path / f"{name}.parquet")
        assert found["input_ids"] == expected(side)["input_ids"]
        lines += found["line"]
    assert sorted(lines) == list(range(1, 41))


@pytest.mark.parametrize("packing", [None, Packing(256)])
def test_datasets_loads_what_is_saved(store: TokenStore, tmp_path: Path, packing: Packing | None) -> None:
    datasets = pytest.importorskip("datasets")
    rows = to_datasets(store, tmp_path / "saved", packing=packing, shard_bytes=4000)
    to_parquet(store, tmp_path / "same.parquet", packing=packing)
    loaded = datasets.load_from_disk(str(tmp_path / "saved"))
    assert loaded.num_rows == rows
    assert loaded.to_dict() == read(tmp_path / "same.parquet")


def test_a_large_folder_has_several_shards(store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(export, "_BATCH_TOKENS", 1)
    rows = to_datasets(store, tmp_path / "saved", packing=Packing(256), shard_bytes=1000)
    assert len(list((tmp_path / "saved").glob("data-*.arrow"))) > 2
    assert datasets.load_from_disk(str(tmp_path / "saved")).num_rows == rows


def read_indexed(prefix: Path) -> tuple[str, list[list[int]], list[int]]:
    """A reader of our own, by the layout of `megatron/core/datasets/indexed_dataset.py`."""
    index = prefix.with_name(prefix.name + ".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack("<QBQQ", index[9:34])
    assert version == 1
    kind = {1: "uint8", 4: "<i4", 8: "<u2"}[code]
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    pointers = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    ends = np.frombuffer(index, "<i8", documents, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * documents
    content = prefix.with_name(prefix.name + ".bin").read_bytes()
    read = [np.frombuffer(content, kind, n, p).tolist() for n, p in zip(lengths, pointers, strict=True)]
    assert sum(lengths) * np.dtype(kind).itemsize == len(content)
    return kind, read, ends.tolist()


def text_store(kitchen: Kitchen, folder: Path) -> TokenStore:
    path = folder / "text.txt"
    path.write_text("".join(f"line {'of text ' * (index % 7)}{index}\n" for index in range(50)))
    return kitchen.prepare(path, stage="pretrain").train


def test_megatron_files_hold_every_document(kitchen: Kitchen, tmp_path: Path) -> None:
    store = text_store(kitchen, tmp_path)
    assert to_megatron(store, tmp_path / "out") == 50
    kind, sequences, ends = read_indexed(tmp_path / "out")
    assert (kind, sequences, ends) == ("<u2", expected(store)["input_ids"], list(range(51)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.bin", "out.idx", "text.txt"]


def test_a_loss_mask_is_refused_dropped_or_written_beside(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q {index}", f"a {index}") for index in range(5)])
    store = kitchen.prepare(path, template="chatml").train
    with pytest.raises(DataError, match="not every token of the store carries a loss"):
        to_megatron(store, tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == ["rows.jsonl"]
    to_megatron(store, tmp_path / "dropped", loss_mask="drop")
    to_megatron(store, tmp_path / "kept", loss_mask="file")
    want = expected(store)
    assert read_indexed(tmp_path / "dropped")[1] == read_indexed(tmp_path / "kept")[1] == want["input_ids"]
    kind, masks, _ = read_indexed(tmp_path / "kept_loss_mask")
    assert kind == "uint8"
    assert masks == [[int(label != IGNORE) for label in labels] for labels in want["labels"]]


def test_weights_do_not_fit_megatron(store: TokenStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="weights of losses"):
        to_megatron(store, tmp_path / "out", loss_mask="file")


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::UserWarning")  # megatron's, of what it would like to have
def test_megatrons_own_builder_writes_the_same_bytes(kitchen: Kitchen, tmp_path: Path) -> None:
    megatron = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="needs megatron-core")
    store = text_store(kitchen, tmp_path)
    to_megatron(store, tmp_path / "ours")
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.uint16)
    for ids in expected(store)["input_ids"]:
        builder.add_document(np.array(ids), [len(ids)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for ending in ("bin", "idx"):
        assert (tmp_path / f"ours.{ending}").read_bytes() == (tmp_path / f"theirs.{ending}").read_bytes()


@pytest.mark.parametrize("write", [to_parquet, to_datasets])
def test_a_name_that_is_taken_is_refused_and_nothing_half_is_left(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ResourceError, match="exists"):
        write(store, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(store, tmp_path / "broken", tell=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_whoever_waits_hears_how_far_it_is(store: TokenStore, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    to_parquet(store, tmp_path / "out.parquet", tell=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (len(store), len(store))


def test_arrow_and_numpy_see_the_files_and_copy_nothing(store: TokenStore) -> None:
    before = pa.total_allocated_bytes()
    table = store.arrow()
    ids = table["ids"].chunk(0).values.to_numpy(zero_copy_only=True)
    assert pa.total_allocated_bytes() == before
    assert table.num_rows == len(store)
    assert table["ids"].chunk(0)[3].as_py() == store.document(3)[0]
    address = ids.__array_interface__["data"][0]
    with Path("/proc/self/maps").open() as maps:
        held = [line for line in maps if str(store.folder) in line]
    ranges = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in held]
    assert any(begin <= address < end for begin, end in ranges)
