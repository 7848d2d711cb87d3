"""The block order: the same from files and from a store, on any number of ranks and threads, cut anywhere."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl
from pydantic import ValidationError

from fastft.config.kinds import STAGES, Batch
from fastft.config.schema import DataConfig
from fastft.core.errors import DataError, ResumeError
from fastft.core.events import Bus
from fastft.data.ledger import Ledger
from fastft.data.plan import make_plan
from fastft.data.stream import BlockOrder, Stream, open_stream
from fastft.data.stream_batches import StreamBatches

STEP: dict[str, Any] = {"windows_per_step": 6, "micro": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Lines, an array and an array on one line, with some rows that can't be used."""
    folder = tmp_path_factory.mktemp("stream")
    lines = [chat(f"line {n}" * (n % 7 + 1), f"a{n}" * (n % 11 + 1)) for n in range(400)]
    first = write_jsonl(folder / "a.jsonl", lines)
    text = first.read_text().splitlines()
    text[57], text[200] = "{broken", ""
    first.write_text("\n".join(text))
    array = [chat(f"array {n}", f"b{n}" * (n % 5 + 1)) for n in range(90)]
    (folder / "b.json").write_text(json.dumps(array, indent=1))
    (folder / "c.json").write_text(json.dumps([chat(f"flat {n}", f"c{n}") for n in range(60)]))
    return [first, folder / "b.json", folder / "c.json"]


def open_(
    kitchen: Kitchen,
    sources: list[Any],
    *,
    stored: bool = False,
    order: dict[str, Any] | None = None,
    **options: Any,
) -> Stream:
    config = kitchen.config(*sources, **options)
    stage = STAGES.get("sft")
    assert stage is not None
    plan = make_plan(config, config.train, stage(), kitchen.tokenizer, config_dir=None, cache=kitchen.cache)
    store = kitchen.prepare(*sources, **options).train if stored else None
    values: dict[str, Any] = {"max_length": 256, "packing": "best-fit", "lanes": 4, "seed": 3, "unit_bytes": 2048}
    return Stream(plan, BlockOrder(**values | (order or {})), store=store)


def key(batch: Batch) -> tuple[Any, ...]:
    tensors = (batch.input_ids, batch.targets, batch.position_ids, batch.cu_seqlens)
    return (*[json.dumps(t.tolist()) for t in tensors], batch.max_seqlen, batch.num_targets, batch.windows)


def run(stream: Stream, steps: int, **options: Any) -> list[list[tuple[Any, ...]]]:
    batches = StreamBatches(stream, **STEP | options)
    return [[key(batch) for batch in batches.next_step()] for _ in range(steps)]


def documents(steps: list[list[tuple[Any, ...]]]) -> list[tuple[int, ...]]:
    seen = []
    for batch in itertools.chain.from_iterable(steps):
        ids, bounds = json.loads(batch[0])[0], json.loads(batch[3])
        seen += [tuple(ids[a:b]) for a, b in itertools.pairwise(bounds)]
    return seen


MIXINGS = ["concat", "first_exhausted", "all_exhausted", "all_exhausted_without_replacement"]


@pytest.mark.parametrize("mixing", MIXINGS)
def test_files_and_store_give_the_same_windows(kitchen: Kitchen, files: list[Path], mixing: str) -> None:
    live = run(open_(kitchen, files, mixing=mixing), 40)
    assert live == run(open_(kitchen, files, mixing=mixing, stored=True), 40)
    assert len(set(documents(live))) > 300, "several epochs of most rows"


def test_every_row_comes_once_an_epoch(kitchen: Kitchen, files: list[Path]) -> None:
    store = kitchen.prepare(*files).train
    want = [tuple(store.document(index)[0]) for index in range(len(store))]
    seen = documents(run(open_(kitchen, files, order={"lanes": 1}), 60))
    assert len(seen) > len(want)
    assert sorted(seen[: len(want)]) == sorted(want)


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_change_nothing(kitchen: Kitchen, files: list[Path], threads: int) -> None:
    want = run(open_(kitchen, files, threads=1), 25)
    assert run(open_(kitchen, files, threads=threads), 25) == want


def test_a_place_in_another_order_is_refused(kitchen: Kitchen, files: list[Path]) -> None:
    state = StreamBatches(open_(kitchen, files), **STEP).state_dict()
    changes: list[dict[str, Any]] = [
        {"order": {"seed": 4}},
        {"order": {"lanes": 2}},
        {"order": {"packing": "none"}},
        {"max_length": 128, "order": {"max_length": 128}},
        {"mixing": "all_exhausted"},
    ]
    for change in changes:
        with pytest.raises(ResumeError):
            StreamBatches(open_(kitchen, files, **change), **STEP).load_state_dict(state)
    with pytest.raises(ResumeError):
        StreamBatches(open_(kitchen, files[:2]), **STEP).load_state_dict(state)


def test_options_change_the_order(kitchen: Kitchen, files: list[Path]) -> None:
    base = run(open_(kitchen, files), 8)
    for order in ({"seed": 4}, {"lanes": 2}, {"packing": "none"}, {"shuffle": False}, {"unit_bytes": 4096}):
        assert run(open_(kitchen, files, order=order), 8) != base, order


def test_without_shuffling_rows_come_as_they_are(kitchen: Kitchen, files: list[Path]) -> None:
    store = kitchen.prepare(*files).train
    stream = open_(kitchen, files, order={"shuffle": False, "packing": "none"})
    assert stream.lanes == 1
    seen = documents(run(stream, 50))
    assert seen[:300] == [tuple(store.document(index)[0]) for index in range(300)]


def test_the_first_batch_needs_no_pass_over_the_data(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "large.jsonl", [chat(f"q{n}", f"a{n} " * 20) for n in range(20_000)])
    stream = open_(kitchen, [path], order={"unit_bytes": 1 << 16})
    StreamBatches(stream, **STEP).next_step()
    books = stream.books()
    assert books is not None
    assert 0 < books["total"]["read"] < 1000


def test_bad_rows_are_counted_and_listed_with_their_place(kitchen: Kitchen, files: list[Path], tmp_path: Path) -> None:
    class Heard:
        events: list[Any] = []  # noqa: RUF012

        def emit(self, event: Any) -> None:
            self.events.append(event)

        def close(self) -> None: ...

    stream = open_(kitchen, files)
    ledger = Ledger(tmp_path / "data", 1.0, Bus([Heard()]))
    batches = StreamBatches(stream, **STEP, ledger=ledger)
    for _ in range(40):
        batches.next_step()
    (row,) = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert (row["file"], row["line"], row["code"]) == (str(files[0]), 58, "E_JSON")
    assert f"{files[0]}:58: E_JSON" in Heard.events[0].message
    books = json.loads((tmp_path / "data" / "books.json").read_text())
    assert books["total"]["quarantined"] == {"E_JSON": 1}
    total = stream.books()["total"]  # type: ignore[index]
    assert total["read"] == total["used"] + 1 == 399 + 150


def test_rows_that_are_left_out_are_listed_once(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = [chat(f"q{n}", "a" * (500 if n in (7, 90) else 5)) for n in range(150)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    for _ in range(2):  # as a resumed run does, which meets rows again
        run(open_(kitchen, [path]), 30, ledger=Ledger(tmp_path / "data", 1.0, Bus()))
    listed = [json.loads(line) for line in (tmp_path / "data" / "left_out.jsonl").read_text().splitlines()]
    assert sorted((row["line"], row["rule"]) for row in listed) == [(8, "too_long"), (91, "too_long")]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl.gz"])
def test_other_layouts_stream_as_they_are_prepared(kitchen: Kitchen, tmp_path: Path, ending: str) -> None:
    import gzip

    import pyarrow as pa
    from pyarrow import csv, parquet

    rows = [{"instruction": f"say {n}" * (n % 5 + 1), "output": f"o{n}" * 3} for n in range(300)]
    path = tmp_path / f"rows.{ending}"
    table = pa.Table.from_pylist(rows)
    if ending == "csv":
        csv.write_csv(table, path)
    elif ending == "parquet":
        parquet.write_table(table, path, row_group_size=40)
    else:
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    live = run(open_(kitchen, [path]), 40)
    assert live == run(open_(kitchen, [path], stored=True), 40)
    assert len(set(documents(live))) == 300


def test_too_many_bad_rows_end_the_run(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}", "a") for n in range(4000)])
    path.write_text(path.read_text().replace('"content": "q1', '"content": 5, "x": "'))
    with pytest.raises(DataError, match="rows read so far can't be used"):
        run(open_(kitchen, [path]), 200, ledger=Ledger(None, 0.05, Bus()))
    with pytest.raises(DataError) as caught:
        run(open_(kitchen, [path], on_bad="fail"), 200)
    assert caught.value.line is not None


def test_the_first_rows_of_a_source_are_all_that_is_used(kitchen: Kitchen, files: list[Path]) -> None:
    capped = [{"path": str(files[0]), "rows": 100}]
    live = run(open_(kitchen, capped), 30)
    assert live == run(open_(kitchen, capped, stored=True), 30)
    assert len(set(documents(live))) == 99, "one of them is broken"


def test_an_epoch_is_estimated_from_the_first_documents(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}" * (n % 9), f"a{n}" * (n % 5 + 1)) for n in range(3000)])
    store = kitchen.prepare(path).train
    batches = StreamBatches(open_(kitchen, [path]), **STEP)
    assert batches.estimate["tokens"] == pytest.approx(store.tokens, rel=0.1)
    assert batches.steps_in_epoch() == pytest.approx(store.tokens / 256 / 6, rel=0.15)


def test_evaluation_has_sources_of_its_own(kitchen: Kitchen, files: list[Path]) -> None:
    stage = STAGES.get("sft")
    assert stage is not None
    config = kitchen.config(files[0], eval_sources=(files[1],), streaming=True)
    opened = open_stream(config, stage(), kitchen.tokenizer, seed=1, cache=kitchen.cache, bus=Bus())
    assert opened.eval is not None
    assert len(opened.eval) == 90
    assert [source["name"] for source in opened.sources] == ["a", "b"]


def test_a_run_can_not_set_rows_aside_while_streaming() -> None:
    from fastft.config.schema import RunConfig

    tree: dict[str, Any] = {
        "model": {"path": "m"},
        "data": {"train": [{"path": "a"}], "streaming": True},
        "stage": {"kind": "sft"},
        "method": {"kind": "full"},
        "optimizer": {"kind": "adamw", "lr": 1e-3},
        "eval": {"fraction": 0.1},
    }
    with pytest.raises(ValidationError, match=r"name `data\.eval`"):
        RunConfig.model_validate(tree)


def test_the_config_says_the_order() -> None:
    config = DataConfig.model_validate({"train": [{"path": "a"}], "streaming": True, "lanes": 3, "max_length": 64})
    assert config.order == "block"
    assert BlockOrder.of(config, 9) == BlockOrder(64, "best-fit", 3, 9)
    assert DataConfig.model_validate({"train": [{"path": "a"}], "shuffle": "none"}).order == "none"
