"""An epoch of the block order is an epoch: each row as often as asked for, from files and stores, on any ranks."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl
from test_data_stream import open_

from fastft.config.kinds import Batch
from fastft.data.dataset import Batches
from fastft.data.stream_batches import StreamBatches

STEP: dict[str, Any] = {"windows_per_step": 5, "micro": 2}
ENDINGS = ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "json"]


def rows(count: int) -> list[dict[str, Any]]:
    """Rows that are all different, longer towards the end: the beginning says little of the rest."""
    return [{"instruction": f"say {n}", "output": f"o{n} " * (1 + n * 8 // count)} for n in range(count)]


def write(folder: Path, ending: str, made: list[dict[str, Any]]) -> Path:
    path = folder / f"rows.{ending}"
    plain = "".join(json.dumps(row) + "\n" for row in made)
    if ending == "jsonl":
        path.write_text(plain)
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress(plain.encode()))
    elif ending == "jsonl.zst":
        import pyarrow

        with pyarrow.CompressedOutputStream(str(path), "zstd") as packed:
            packed.write(plain.encode())
    elif ending == "json":
        path.write_text(json.dumps(made, indent=2))
    else:
        path.write_text("instruction,output\n" + "".join(f"{r['instruction']},{r['output']}\n" for r in made))
    return path


def documents(batches: list[Batch]) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for batch in batches:
        ids, bounds = batch.input_ids[0].tolist(), batch.cu_seqlens.tolist()
        found.update(tuple(ids[a:b]) for a, b in itertools.pairwise(bounds))
    return found


def epoch(feeds: list[StreamBatches]) -> tuple[int, list[Batch]]:
    """Steps and batches of the epoch that begins here, on all ranks; they end it together."""
    number, steps, batches = feeds[0].epochs_done, 0, []
    while feeds[0].epochs_done == number:
        for feed in feeds:
            batches += feed.next_step()
        steps += 1
        assert len({feed.epochs_done for feed in feeds}) == 1
    return steps, batches


@pytest.mark.parametrize("stored", [False, True], ids=["streaming", "block"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_each_row_comes_once_an_epoch(kitchen: Kitchen, tmp_path: Path, ending: str, stored: bool) -> None:
    path = write(tmp_path, ending, rows(400))
    store = kitchen.prepare(path).train
    want = Counter(tuple(store.document(index)[0]) for index in range(len(store)))
    assert len(want) == len(store) == 400
    for world in (1, 2):
        feeds = [
            StreamBatches(open_(kitchen, [path], stored=stored), **STEP, rank=rank, world=world)
            for rank in range(world)
        ]
        for number in range(2):
            expected = feeds[0].steps_in_epoch(number)
            steps, batches = epoch(feeds)
            assert documents(batches) == want
            assert steps == expected if stored else abs(steps - expected) <= 0.2 * steps


@pytest.mark.parametrize("stored", [False, True], ids=["streaming", "block"])
def test_a_source_comes_as_often_as_it_is_repeated(kitchen: Kitchen, tmp_path: Path, stored: bool) -> None:
    paths = [write_jsonl(tmp_path / f"{n}.jsonl", [chat(f"{n} {m}", "a" * m) for m in range(1, 61)]) for n in "ab"]
    sources = [str(paths[0]), {"path": str(paths[1]), "repeat": 3}]
    _, batches = epoch([StreamBatches(open_(kitchen, sources, stored=stored), **STEP)])
    assert Counter(documents(batches).values()) == {1: 60, 3: 60}


@pytest.mark.parametrize("mixing", ["first_exhausted", "all_exhausted", "all_exhausted_without_replacement"])
def test_mixed_epochs_have_as_many_steps_as_are_counted(kitchen: Kitchen, tmp_path: Path, mixing: str) -> None:
    paths = [
        write_jsonl(tmp_path / f"{n}.jsonl", [chat(f"{n} {m}", "a" * (m % 50)) for m in range(40 + 90 * n)])
        for n in (1, 2)
    ]
    feed = StreamBatches(open_(kitchen, paths, stored=True, mixing=mixing), **STEP)
    expected = [feed.steps_in_epoch(number) for number in range(3)]
    assert [epoch([feed])[0] for _ in range(3)] == expected


def test_block_has_the_steps_of_the_global_order_but_for_packing(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl.gz", rows(3000))
    block = StreamBatches(open_(kitchen, [path], stored=True), **STEP)
    store = kitchen.prepare(path).train
    whole = Batches(store, max_length=256, packing="best-fit", seed=3, **STEP)
    assert block.steps_in_epoch() == pytest.approx(whole.steps_in_epoch(), rel=0.08)


def test_a_packed_file_is_estimated_by_what_it_unpacks_to(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("the same", "again " * 20)] * 3000)
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, small = (StreamBatches(open_(kitchen, [file]), **STEP).steps_in_epoch() for file in (path, packed))
    assert small == pytest.approx(plain, rel=0.03)
    assert StreamBatches(open_(kitchen, [{"path": str(packed), "rows": 100}]), **STEP).steps_in_epoch() == (
        pytest.approx(plain / 30, abs=2)
    )


def test_a_place_is_exact_over_the_end_of_an_epoch(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl", rows(200))
    whole = StreamBatches(open_(kitchen, [path]), **STEP)
    first, _ = epoch([whole])
    want = epoch([whole])[1]
    for cut in (first - 1, first, first + 1):
        feed = StreamBatches(open_(kitchen, [path]), **STEP)
        for _ in range(cut):
            feed.next_step()
        later = StreamBatches(open_(kitchen, [path]), **STEP)
        later.load_state_dict(json.loads(json.dumps(feed.state_dict())))
        assert (later.epochs_done, later.epoch) == (feed.epochs_done, feed.epoch)
        if later.epochs_done == 0:
            epoch([later])
        rest = epoch([later])[1]
        assert [batch.input_ids.tolist() for batch in rest] == [
            batch.input_ids.tolist() for batch in want[len(want) - len(rest) :]
        ]
