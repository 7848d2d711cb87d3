"""`fastft.data.load`: batches for any loop, with a place to come back to."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from data_helpers import Kitchen, chat, write_jsonl
from torch.utils.data import DataLoader

from fastft import data
from fastft.config.kinds import Batch
from fastft.config.schema import RunConfig
from fastft.core.errors import DataError, UnsupportedError
from fastft.data._loadable import EvaluationData, TrainingData


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    return write_jsonl(folder / "rows.jsonl", [chat(f"q{n}" * (n % 9 + 1), f"a{n}" * 9) for n in range(200)])


def load(
    kitchen: Kitchen, rows: Path, *, fraction: float = 0.0, options: dict[str, Any] | None = None, **more: Any
) -> Any:
    tree = {
        "model": {"path": "none"},
        "data": {"train": [{"path": str(rows)}], "template": "chatml", "max_length": 256, **(options or {})},
        "stage": {"kind": "sft"},
        "method": {"kind": "full"},
        "optimizer": {"kind": "adamw", "lr": 1e-3},
        "eval": {"fraction": fraction},
    }
    return data.load(RunConfig.model_validate(tree), tokenizer=kitchen.tokenizer, cache=kitchen.cache, **more)


def text(batch: dict[str, Any]) -> str:
    return json.dumps({k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in batch.items()})


MODES: list[dict[str, Any]] = [{}, {"shuffle": "block", "lanes": 2}, {"streaming": True, "lanes": 2}]


@pytest.mark.parametrize("options", MODES)
def test_a_data_loader_gives_the_same_batches(kitchen: Kitchen, rows: Path, options: dict[str, Any]) -> None:
    plain = [text(batch) for batch in load(kitchen, rows, options=options)]
    through = [text(b) for b in DataLoader(load(kitchen, rows, options=options), batch_size=None, num_workers=0)]
    assert plain == through
    assert len(plain) > 10


@pytest.mark.parametrize("options", MODES)
def test_a_place_can_be_gone_back_to(kitchen: Kitchen, rows: Path, options: dict[str, Any]) -> None:
    whole = load(kitchen, rows, options=options)
    want = [text(batch) for _ in range(2) for batch in whole]
    for stop in (0, 5, len(want) // 2, len(want) // 2 + 3):
        broken = load(kitchen, rows, options=options)
        seen: list[str] = []
        while len(seen) < stop:
            for batch in broken:
                seen.append(text(batch))
                if len(seen) == stop:
                    break
        state = json.loads(json.dumps(broken.state_dict()))
        after = load(kitchen, rows, options=options)
        after.load_state_dict(state)
        while len(seen) < len(want):
            seen += [text(batch) for batch in after]
        assert seen[: len(want)] == want


def test_labels_are_the_ids_that_carry_a_loss(kitchen: Kitchen, rows: Path) -> None:
    dicts, batches = load(kitchen, rows, windows=2), load(kitchen, rows, windows=2, as_batches=True)
    for found, batch in zip(dicts, batches, strict=True):
        assert isinstance(batch, Batch)
        trained = found["labels"] != -100
        assert torch.equal(found["labels"][trained], found["input_ids"][trained])
        assert int(trained.sum()) == batch.num_targets
        assert torch.equal(found["labels"][0, 1:], batch.targets[0, :-1])
        assert found["cu_seqlens"][-1] == found["input_ids"].shape[1]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [*MODES, {"shuffle": "none"}], ids=["global", "block", "streaming", "as it is"])
def test_ranks_get_as_many_batches_and_every_row_once(
    kitchen: Kitchen, rows: Path, options: dict[str, Any], world: int
) -> None:
    def documents(batches: list[dict[str, Any]]) -> list[str]:
        bounds = [batch["cu_seqlens"].tolist() for batch in batches]
        ids = [batch["input_ids"][0].tolist() for batch in batches]
        return [str(i[a:b]) for i, each in zip(ids, bounds, strict=True) for a, b in itertools.pairwise(each)]

    options = {**options, "max_length": 192}
    alone = documents(list(load(kitchen, rows, options=options)))
    parts = [list(load(kitchen, rows, options=options, rank=rank, world=world)) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert all((batch["labels"] != -100).any() for part in parts for batch in part)
    assert sorted(document for part in parts for document in documents(part)) == sorted(alone)
    if not options.get("streaming"):
        assert len(load(kitchen, rows, options=options, world=world)) == len(parts[0])


@pytest.mark.parametrize("windows", [1, 2, 3])
@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("count", [37, 41])
def test_the_last_windows_of_the_global_order_go_to_all_ranks(
    kitchen: Kitchen, tmp_path: Path, count: int, world: int, windows: int
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}", "a" * 90) for n in range(count)])
    more: dict[str, Any] = {"options": {"packing": "none"}, "windows": windows, "world": world, "as_batches": True}
    ranks = [load(kitchen, path, rank=rank, **more) for rank in range(world)]
    for _ in range(2):
        assert all(len(data) == len(ranks[0]) for data in ranks)
        seen: list[int] = []
        steps = 0
        for batches in zip(*ranks, strict=True):
            steps += 1
            places = [batch.windows for batch in batches]
            assert all(0 < len(each) <= max(windows, 2) for each in places)
            seen += sorted(place for each in places for place in each)
        assert seen == list(range(count)), "the windows and steps of one process, in their order"
    assert steps == len(ranks[0])
    stop = len(ranks[0]) - 1
    first = iter(load(kitchen, path, rank=1, **more))
    want = [text(vars(next(first))) for _ in range(stop + 1)][-1]
    whole, again = load(kitchen, path, rank=1, **more), load(kitchen, path, rank=1, **more)
    for _ in zip(range(stop), whole, strict=False):
        pass
    again.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert [text(vars(batch)) for batch in again] == [want]


@pytest.mark.parametrize("options", MODES, ids=["global", "block", "streaming"])
def test_fewer_windows_than_ranks_are_refused_in_every_order(
    kitchen: Kitchen, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}", "a") for n in range(2)])
    with pytest.raises(DataError, match="2 windows are left in this epoch, fewer than the 3 ranks"):
        next(iter(load(kitchen, path, options={**options, "packing": "none"}, world=3)))


def test_length_is_told_where_it_is_known(kitchen: Kitchen, rows: Path) -> None:
    known = load(kitchen, rows)
    assert isinstance(known, TrainingData)
    assert len(known) == len(list(known))
    with pytest.raises(TypeError, match="no length that is known"):
        len(load(kitchen, rows, options={"streaming": True}))


def test_evaluation_is_the_same_each_time(kitchen: Kitchen, rows: Path) -> None:
    evaluation = load(kitchen, rows, fraction=0.2, split="eval")
    assert isinstance(evaluation, EvaluationData)
    first = [text(batch) for batch in evaluation]
    assert first == [text(batch) for batch in evaluation]
    assert not set(first) & {text(batch) for batch in load(kitchen, rows, fraction=0.2)}
    with pytest.raises(DataError, match="no evaluation"):
        load(kitchen, rows, split="eval")


def test_worker_processes_are_refused(kitchen: Kitchen, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastft.data._loadable.get_worker_info", lambda: object())
    with pytest.raises(UnsupportedError, match="threads of its own"):
        next(iter(load(kitchen, rows)))
