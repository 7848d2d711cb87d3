from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from data_helpers import Kitchen, chat, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from fastft.config.kinds import Batch
from fastft.core.errors import DataError, ResumeError
from fastft.data import Batches, Prepared, TokenStore, evaluation_batches
from fastft.data.dataset import deal

OPTIONS: dict[str, Any] = {"max_length": 256, "packing": "best-fit", "windows_per_step": 4, "micro": 2, "seed": 5}


@pytest.fixture(scope="module")
def prepared(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    rows = [chat(f"q{n}" * (n % 9 + 1), f"a{n}" * (n % 13 + 1)) for n in range(150)]
    return kitchen.prepare(write_jsonl(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows))


def key(batch: Batch) -> tuple[Any, ...]:
    tensors = (batch.input_ids, batch.targets, batch.position_ids, batch.cu_seqlens)
    return (*[json.dumps(t.tolist()) for t in tensors], batch.max_seqlen, batch.num_targets, batch.windows)


def documents_of(batch: Batch) -> list[tuple[int, ...]]:
    ids, bounds = batch.input_ids[0].tolist(), batch.cu_seqlens.tolist()
    return [tuple(ids[a:b]) for a, b in itertools.pairwise(bounds)]


def plain(store: TokenStore, batch: Batch) -> tuple[list[int], list[int]]:
    """Targets and positions as the definition says them, from the stored documents."""
    stored = {tuple(store.document(i)[0]): store.document(i)[1] for i in range(len(store))}
    targets, positions = [], []
    for ids in documents_of(batch):
        trained = stored[ids]
        targets += [ids[t + 1] if trained[t + 1] else -100 for t in range(len(ids) - 1)] + [-100]
        positions += list(range(len(ids)))
    return targets, positions


def test_batches_are_what_the_definition_says(prepared: Prepared) -> None:
    batches = Batches(prepared.train, **OPTIONS)
    for _ in range(batches.steps_in_epoch(0)):
        for batch in batches.next_step():
            targets, positions = plain(prepared.train, batch)
            assert batch.input_ids.dtype == batch.targets.dtype == batch.position_ids.dtype == torch.int64
            assert batch.cu_seqlens.dtype == torch.int32
            assert batch.targets.tolist() == [targets]
            assert batch.position_ids.tolist() == [positions]
            assert batch.num_targets == sum(target != -100 for target in targets)
            assert batch.max_seqlen == max(len(ids) for ids in documents_of(batch))
            assert batch.input_ids.shape[1] <= 2 * 256


@pytest.mark.parametrize("packing", ["best-fit", "none"])
def test_every_row_is_seen_once_an_epoch(prepared: Prepared, packing: str) -> None:
    want = sorted(tuple(prepared.train.document(i)[0]) for i in range(len(prepared.train)))
    batches = Batches(prepared.train, **OPTIONS | {"packing": packing})
    for _ in range(2):
        steps = [batches.next_step() for _ in range(batches.steps_in_epoch(0))]
        assert sorted(ids for step in steps for batch in step for ids in documents_of(batch)) == want
    assert batches.epoch == 2.0


def test_repeat_shows_rows_of_a_source_more_often(kitchen: Kitchen, tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", [chat(f"one{n}", "a") for n in range(5)])
    two = write_jsonl(tmp_path / "two.jsonl", [chat(f"two{n}", "a") for n in range(5)])
    prepared = kitchen.prepare({"path": str(one), "repeat": 3}, {"path": str(two)})
    batches = Batches(prepared.train, **OPTIONS)
    seen = [
        ids for _ in range(batches.steps_in_epoch(0)) for batch in batches.next_step() for ids in documents_of(batch)
    ]
    counts = [seen.count(tuple(prepared.train.document(i)[0])) for i in range(10)]
    assert counts == [3] * 5 + [1] * 5


def test_order_depends_on_seed_and_epoch_alone(prepared: Prepared) -> None:
    def run(**options: Any) -> list[Any]:
        batches = Batches(prepared.train, **OPTIONS | options)
        return [key(b) for _ in range(2 * batches.steps_in_epoch(0)) for b in batches.next_step()]

    first = run()
    assert run() == first
    assert run(seed=6) != first
    half = len(first) // 2
    assert first[:half] != first[half:]
    still = run(shuffle=False)
    assert still[:half] == still[half:]


@pytest.mark.parametrize("world", [2, 3])
def test_one_rank_sees_the_union_of_many(prepared: Prepared, world: int) -> None:
    alone = Batches(prepared.train, **OPTIONS | {"micro": 1})
    ranks = [Batches(prepared.train, **OPTIONS | {"micro": 1}, rank=rank, world=world) for rank in range(world)]
    for _ in range(alone.steps_in_epoch(0) + 2):
        want = [key(batch) for batch in alone.next_step()]
        parts = [[key(batch) for batch in rank.next_step()] for rank in ranks]
        assert sorted(seen for part in parts for seen in part) == sorted(want)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ranks_have_as_much_to_do(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = [chat(f"q{n}", "word " * (240 if n % 5 == 0 else 3)) for n in range(60)]
    store = kitchen.prepare(write_jsonl(tmp_path / "rows.jsonl", rows), max_length=512).train
    options = OPTIONS | {"max_length": 512, "packing": "none", "windows_per_step": 20, "micro": 1}
    ranks = [Batches(store, **options, rank=rank, world=4) for rank in range(4)]
    for _ in range(3):
        batches = [rank.next_step() for rank in ranks]
        longest = max(batch.max_seqlen for share in batches for batch in share)
        tokens = [sum(batch.input_ids.numel() for batch in share) for share in batches]
        assert max(tokens) - min(tokens) <= longest  # one long row more or less


@given(costs=st.lists(st.integers(0, 10**6), max_size=40), world=st.integers(1, 9))
def test_windows_are_dealt_once_and_evenly(costs: list[int], world: int) -> None:
    shares = deal(costs, range(len(costs)), world)
    assert sorted(place for share in shares for place in share) == list(range(len(costs)))
    sizes = [len(share) for share in shares]
    assert len(sizes) == world
    assert max(sizes) - min(sizes) <= 1


def test_a_resumed_run_goes_on_as_the_unbroken_one(prepared: Prepared) -> None:
    whole = Batches(prepared.train, **OPTIONS)
    steps = whole.steps_in_epoch(0)
    want = [[key(batch) for batch in whole.next_step()] for _ in range(2 * steps)]
    for stop in (1, steps - 1, steps, steps + 1):
        before = Batches(prepared.train, **OPTIONS)
        for _ in range(stop):
            before.next_step()
        state = json.loads(json.dumps(before.state_dict()))
        assert len(json.dumps(state)) < 4096
        after = Batches(prepared.train, **OPTIONS)
        after.load_state_dict(state)
        assert after.epoch == before.epoch
        assert [[key(batch) for batch in after.next_step()] for _ in range(2 * steps - stop)] == want[stop:]


def test_a_place_in_other_data_is_refused(prepared: Prepared) -> None:
    state = Batches(prepared.train, **OPTIONS).state_dict()
    for change in ({"seed": 6}, {"packing": "none"}, {"windows_per_step": 8}, {"shuffle": False}):
        with pytest.raises(ResumeError):
            Batches(prepared.train, **OPTIONS | change).load_state_dict(state)
    Batches(prepared.train, **OPTIONS | {"micro": 1}, rank=1, world=2).load_state_dict(state)


def test_a_place_in_another_split_is_refused(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}", f"a{n}") for n in range(40)])
    stores = [kitchen.prepare(path, eval_fraction=1e-9, seed=seed).train for seed in (1, 2)]
    assert len(stores[0]) == len(stores[1])
    state = Batches(stores[0], **OPTIONS).state_dict()
    with pytest.raises(ResumeError):
        Batches(stores[1], **OPTIONS).load_state_dict(state)


def test_steps_and_epochs_are_counted(prepared: Prepared) -> None:
    batches = Batches(prepared.train, **OPTIONS)
    assert batches.steps_in_epoch(0) == batches.steps_in_epoch(7) == -(-batches.num_windows // 4)
    batches.next_step()
    assert batches.epoch == pytest.approx(1 / batches.steps_in_epoch(0))


def test_evaluation_shows_every_row_once_over_the_ranks(prepared: Prepared) -> None:
    options: dict[str, Any] = {"max_length": 256, "packing": "best-fit", "micro": 3}
    alone = [key(batch) for batch in evaluation_batches(prepared.train, **options)]
    parts = [[key(b) for b in evaluation_batches(prepared.train, **options, rank=r, world=2)] for r in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(alone)
    rows = [ids for b in evaluation_batches(prepared.train, **options) for ids in documents_of(b)]
    assert sorted(rows) == sorted(tuple(prepared.train.document(i)[0]) for i in range(len(prepared.train)))


def test_windows_shorter_than_the_rows_are_refused(prepared: Prepared) -> None:
    with pytest.raises(DataError, match="windows have 16"):
        Batches(prepared.train, **OPTIONS | {"max_length": 16})


def test_buffers_of_another_size_or_type_are_refused(prepared: Prepared) -> None:
    from fastft.data.engine import engine

    windows = engine().Windows(prepared.train.native, 256, "best-fit")
    tokens, documents, weighted = windows.measure([0])
    assert not weighted
    good = [torch.empty(tokens, dtype=torch.int64).numpy() for _ in range(3)]
    bounds = torch.empty(documents + 1, dtype=torch.int32).numpy()
    windows.fill([0], *good, bounds)
    with pytest.raises(ValueError, match="are needed"):
        windows.fill([0], good[0][:-1], *good[1:], bounds)
    with pytest.raises(BufferError):
        windows.fill([0], good[0].astype("int32"), *good[1:], bounds)
    frozen = good[0].copy()
    frozen.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        windows.fill([0], frozen, *good[1:], bounds)
    with pytest.raises(IndexError):
        windows.measure([10_000])
