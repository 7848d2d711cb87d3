"""Mixing sources: shares hold at every point, epochs end where they say, and every option has an effect."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl
from pydantic import ValidationError

from fastft.config.kinds import Batch
from fastft.data import Batches, Prepared

OPTIONS: dict[str, Any] = {"max_length": 256, "packing": "none", "windows_per_step": 4, "micro": 4, "seed": 5}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three sources whose rows say which one they are of: 20, 60 and 120 rows."""
    folder = tmp_path_factory.mktemp("sources")
    return [
        {"path": str(write_jsonl(folder / f"{name}.jsonl", [chat(f"{name}{n}", f"{n}") for n in range(count)]))}
        for name, count in (("aaa", 20), ("bbb", 60), ("ccc", 120))
    ]


def mixed(kitchen: Kitchen, sources: list[dict[str, Any]], weights: tuple[float, ...] = (), **options: Any) -> Prepared:
    weighted = [
        source | ({"weight": weight} if weight else {}) for source, weight in zip(sources, weights, strict=False)
    ]
    return kitchen.prepare(*(weighted or sources), **options)


def epoch_of(prepared: Prepared, epochs: int = 1, **options: Any) -> list[list[int]]:
    """Documents of each epoch, in order."""
    number = {tuple(prepared.train.document(i)[0]): i for i in range(len(prepared.train))}
    batches = Batches(prepared.train, **OPTIONS | options)
    seen = []
    for epoch in range(epochs):
        steps = [batches.next_step() for _ in range(batches.steps_in_epoch(epoch))]
        seen.append([number[ids] for step in steps for batch in step for ids in documents_of(batch)])
    return seen


def documents_of(batch: Batch) -> list[tuple[int, ...]]:
    ids, bounds = batch.input_ids[0].tolist(), batch.cu_seqlens.tolist()
    return [tuple(ids[a:b]) for a, b in itertools.pairwise(bounds)]


def source_of(document: int) -> int:
    return 0 if document < 20 else 1 if document < 80 else 2


@pytest.mark.parametrize("packing", ["none", "best-fit"])
def test_shares_hold_at_every_point(kitchen: Kitchen, sources: list[dict[str, Any]], packing: str) -> None:
    prepared = mixed(kitchen, sources, (1, 2, 5), mixing="first_exhausted")
    (seen,) = epoch_of(prepared, packing=packing)
    counts = [0, 0, 0]
    for place, document in enumerate(seen, 1):
        counts[source_of(document)] += 1
        if packing == "none":
            assert all(abs(count - place * weight / 8) < 1 for count, weight in zip(counts, (1, 2, 5), strict=True))
    assert counts[0] == 20 or counts[1] == 60 or counts[2] == 120, "some source was seen whole"
    assert abs(counts[1] - 2 * counts[0]) <= 2


def test_all_exhausted_begins_small_sources_again_in_another_order(
    kitchen: Kitchen, sources: list[dict[str, Any]]
) -> None:
    (seen,) = epoch_of(mixed(kitchen, sources, mixing="all_exhausted"))
    small = [document for document in seen if source_of(document) == 0]
    assert {document for document in seen if source_of(document) == 2} == set(range(80, 200))
    passes = [small[start : start + 20] for start in range(0, 100, 20)]
    assert all(sorted(each) == list(range(20)) for each in passes)
    assert len({tuple(each) for each in passes}) == 5


def test_without_replacement_each_row_is_seen_once(kitchen: Kitchen, sources: list[dict[str, Any]]) -> None:
    first, second = epoch_of(mixed(kitchen, sources, mixing="all_exhausted_without_replacement"), epochs=2)
    assert sorted(first) == sorted(second) == list(range(200))
    assert first != second
    assert Counter(map(source_of, first[:60])) == {0: 20, 1: 20, 2: 20}


def test_temperature_draws_shares_together(kitchen: Kitchen, sources: list[dict[str, Any]]) -> None:
    shares = {}
    for temperature in (1, 2, 1e9):
        (seen,) = epoch_of(mixed(kitchen, sources, mixing="all_exhausted_without_replacement", temperature=temperature))
        shares[temperature] = [Counter(map(source_of, seen[:40]))[source] for source in range(3)]
    assert shares[1] == [4, 12, 24]
    assert [abs(a - b) <= 1 for a, b in zip(shares[2], (8.1, 14.0, 19.9), strict=True)] == [True] * 3
    assert all(abs(share - 40 / 3) < 1 for share in shares[1e9])


def test_packed_windows_keep_the_order_of_turns_and_lose_nothing(
    kitchen: Kitchen, sources: list[dict[str, Any]]
) -> None:
    prepared = mixed(kitchen, sources, mixing="all_exhausted_without_replacement")
    (seen,) = epoch_of(prepared, packing="best-fit")
    assert sorted(seen) == list(range(200))


def test_a_changed_mixture_is_another_order_for_a_checkpoint(kitchen: Kitchen, sources: list[dict[str, Any]]) -> None:
    stores = [
        mixed(kitchen, sources, weights, mixing="first_exhausted", **more).train
        for weights, more in (((), {}), ((1, 2, 1), {}), ((), {"temperature": 3.0}))
    ]
    assert len({store.key for store in stores}) == 1, "a mixture changes no token"
    orders = {json.dumps(Batches(store, **OPTIONS).state_dict()) for store in stores}
    assert len(orders) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": [{"path": "a", "weight": 2}]}, "`weight` has no effect"),
        ({"temperature": 2}, "`temperature` has no effect"),
        ({"mixing": "first_exhausted", "train": [{"path": "a", "weight": 0}]}, "greater than 0"),
        ({"streaming": True, "shuffle": "global"}, "can't shuffle over all rows"),
        ({"lanes": 4}, "`lanes` has no effect"),
        ({"streaming": True, "dedup": {}}, "a pass over all rows"),
    ],
)
def test_options_without_effect_are_refused(kitchen: Kitchen, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kitchen.config(Path("a"), **options)
