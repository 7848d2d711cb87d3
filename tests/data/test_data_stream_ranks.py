"""Ranks share the lanes of a stream: windows and order are those of one rank, and each row is made by one of them."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_data_stream import MIXINGS, open_

from fastft.config.kinds import Batch
from fastft.core.errors import DataError, ResumeError
from fastft.core.events import Bus
from fastft.data.ledger import Ledger
from fastft.data.stream import Stream
from fastft.data.stream_batches import StreamBatches, deal, parts

STEP: dict[str, Any] = {"windows_per_step": 6, "micro": 2}


class Talk:
    """Ranks that are threads of this process tell each other what they have to say."""

    def __init__(self, world: int) -> None:
        self._said: list[bytes] = [b""] * world
        self._barrier = threading.Barrier(world, timeout=60)
        self.rounds = 0

    def of(self, rank: int) -> Callable[[bytes], Sequence[bytes]]:
        def say(text: bytes) -> list[bytes]:
            self._said[rank] = text
            self._barrier.wait()
            heard = list(self._said)
            self.rounds += rank == 0
            self._barrier.wait()
            return heard

        return say


class Ranks:
    """Some ranks, step after step."""

    def __init__(self, world: int, opened: Callable[[], Stream], *, shared: bool = True, **options: Any) -> None:
        ledgers = options.pop("ledgers", [None] * world)
        self.streams = [opened() for _ in range(world)]
        self.talk = Talk(world)
        self.feeds = [
            StreamBatches(stream, **STEP | options, rank=rank, world=world, ledger=ledgers[rank])
            for rank, stream in enumerate(self.streams)
        ]
        if shared and world > 1:
            for rank, feed in enumerate(self.feeds):
                feed.share(self.talk.of(rank))
        self._pool = ThreadPoolExecutor(world)

    def step(self) -> list[list[Batch]]:
        """The batches of each rank."""
        under_way = [self._pool.submit(feed.next_step) for feed in self.feeds]
        errors = [error for each in under_way if (error := each.exception()) is not None]
        if errors:
            raise ExceptionGroup("ranks", errors)  # type: ignore[type-var]
        assert len({feed.epochs_done for feed in self.feeds}) == 1
        return [each.result() for each in under_way]

    def place(self) -> dict[str, Any]:
        merged: dict[str, Any] = json.loads(json.dumps(self.feeds[0].merged([f.state_dict() for f in self.feeds])))
        return merged


def windows(batches: Sequence[Batch]) -> list[str]:
    """The windows of some batches, each with its number in the epoch."""
    found = []
    for batch in batches:
        tensors = (batch.input_ids[0].tolist(), batch.targets[0].tolist(), batch.position_ids[0].tolist())
        bounds = batch.cu_seqlens.tolist()
        documents = [[tensor[a:b] for tensor in tensors] for a, b in itertools.pairwise(bounds)]
        found.append(json.dumps([batch.windows, documents]))
    return found


def epoch(ranks: Ranks) -> int:
    """Go to the end of an epoch; returns the steps."""
    steps = 0
    while not ranks.feeds[0].epochs_done:
        ranks.step()
        steps += 1
    return steps


def single(batches: Sequence[Sequence[Batch]]) -> list[str]:
    return sorted(windows([batch for each in batches for batch in each]))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("ranks")
    sizes = {"a": 500, "b": 160, "c": 90}
    return [
        write_jsonl(folder / f"{n}.jsonl", [chat(f"{n} {m}" * (m % 7 + 1), f"a{m}" * (m % 9 + 1)) for m in range(size)])
        for n, size in sizes.items()
    ]


ONE: dict[str, Any] = {"micro": 1}
"""One window a batch: then batches can be compared, whoever got them."""


@pytest.mark.parametrize(("world", "shared"), [(2, True), (3, True), (4, True), (8, True), (3, False)])
@pytest.mark.parametrize("stored", [False, True], ids=["streaming", "block"])
def test_ranks_together_see_what_one_sees(
    kitchen: Kitchen, files: list[Path], world: int, stored: bool, shared: bool
) -> None:
    alone = Ranks(1, lambda: open_(kitchen, files, stored=stored), **ONE)
    some = Ranks(world, lambda: open_(kitchen, files, stored=stored), shared=shared, **ONE)
    while some.feeds[0].epochs_done < 2:
        assert single(some.step()) == single(alone.step())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 40),
    mixing=st.sampled_from(MIXINGS),
    worlds=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shared=st.booleans(),
)
def test_cut_anywhere_and_resumed_with_other_ranks_they_go_on(
    kitchen: Kitchen, files: list[Path], cut: int, mixing: str, worlds: tuple[int, int], shared: bool
) -> None:
    def opened() -> Stream:
        return open_(kitchen, files, mixing=mixing)

    alone, before = Ranks(1, opened, **ONE), Ranks(worlds[0], opened, shared=shared, **ONE)
    for _ in range(cut):
        alone.step()
        before.step()
    assert before.place() == alone.place()
    assert len(json.dumps(before.place())) < 4096
    after = Ranks(worlds[1], opened, **ONE)
    for feed in after.feeds:
        feed.load_state_dict(before.place())
    for _ in range(6):
        assert single(after.step()) == single(alone.step())


@pytest.mark.parametrize("world", [2, 4])
def test_tokens_are_made_once_over_all_ranks(kitchen: Kitchen, files: list[Path], world: int) -> None:
    def made(ranks: Ranks) -> list[int]:
        epoch(ranks)
        books = [stream.books() for stream in ranks.streams]
        return [each["total"]["tokens"] for each in books if each is not None]

    (want,) = made(Ranks(1, lambda: open_(kitchen, files)))
    each = made(Ranks(world, lambda: open_(kitchen, files)))
    assert sum(each) == want
    assert max(each) < 1.2 * want / world
    assert made(Ranks(world, lambda: open_(kitchen, files), shared=False)) == [want] * world


def test_ranks_talk_about_once_a_group(kitchen: Kitchen, files: list[Path]) -> None:
    ranks = Ranks(2, lambda: open_(kitchen, files))
    steps = epoch(ranks)
    assert 0 < ranks.talk.rounds < steps


def test_steps_are_shared_evenly_while_all_lanes_live(kitchen: Kitchen, files: list[Path]) -> None:
    ranks = Ranks(2, lambda: open_(kitchen, files))
    for _ in range(6):
        assert [len(windows(batches)) for batches in ranks.step()] == [2, 2]  # 3 windows each, 2 and 1 a batch
    assert deal([0, 1, 2, 3, 0, 1], parts(4, 2), 2) == [0, 1, 0, 1, 0, 1]
    assert deal([0, 1, 0, 1], parts(2, 4), 4) == [0, 1, 2, 3], "lanes go round where there are more ranks"
    assert deal([0, 1, 2, 3, 4], parts(8, 3), 3) == [0, 1, 2, 0, 1], "all make all"


def test_one_list_has_the_bad_rows_of_all_ranks(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}" * 5, f"a{n}") for n in range(400)])
    lines = rows.read_text().splitlines()
    for number in (3, 140, 260, 399):
        lines[number] = "{broken"
    rows.write_text("\n".join(lines))
    ledgers = [Ledger(tmp_path / "data", 1.0, Bus()), Ledger(None, 1.0, Bus())]
    ranks = Ranks(2, lambda: open_(kitchen, [rows]), ledgers=ledgers)
    epoch(ranks)
    listed = [json.loads(line)["line"] for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert sorted(listed) == [4, 141, 261, 400]
    mine = [json.loads(json.dumps(stream.books()))["total"]["read"] for stream in ranks.streams]
    assert sum(mine) == 400
    assert min(mine) > 0
    books = json.loads((tmp_path / "data" / "books.json").read_text())
    assert books["total"]["quarantined"] == {"E_JSON": 4}
    assert books["total"]["read"] > max(mine)


def test_what_ends_one_rank_ends_all(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}" * 5, f"a{n}") for n in range(400)])
    lines = rows.read_text().splitlines()
    lines[200] = "{broken"
    rows.write_text("\n".join(lines))
    ranks = Ranks(2, lambda: open_(kitchen, [rows], on_bad="fail"))
    with pytest.raises(ExceptionGroup) as caught:
        epoch(ranks)
    own, told = sorted(caught.value.exceptions, key=lambda error: "can't go on" in str(error))
    assert isinstance(own, DataError)
    assert isinstance(told, DataError)
    assert own.line == 201
    assert own.message in told.message


@pytest.mark.parametrize("kind", [MemoryError, BaseException], ids=str)
def test_an_error_of_any_kind_ends_all_ranks(
    kitchen: Kitchen, files: list[Path], monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise kind("no room")

    ranks = Ranks(2, lambda: open_(kitchen, files))
    native = SimpleNamespace(lacking=ranks.streams[1].native.lacking, make=fail)
    monkeypatch.setattr(ranks.streams[1], "native", native)
    with ThreadPoolExecutor(2) as pool:
        under_way = [pool.submit(feed.next_step) for feed in ranks.feeds]
        told, own = [each.exception() for each in under_way]
    assert type(own) is kind
    assert isinstance(told, DataError)
    assert (told.message, told.code) == (f"rank 1 can't go on: {kind.__name__}: no room", "internal")


def test_the_place_of_one_rank_is_no_place(kitchen: Kitchen, files: list[Path]) -> None:
    ranks = Ranks(2, lambda: open_(kitchen, files))
    ranks.step()
    with pytest.raises(ResumeError, match="one rank"):
        StreamBatches(open_(kitchen, files), **STEP).load_state_dict(ranks.feeds[0].state_dict())


def test_even_batches_and_shared_lanes_exclude_each_other(kitchen: Kitchen, files: list[Path]) -> None:
    with pytest.raises(ValueError, match="even"):
        StreamBatches(open_(kitchen, files), **STEP, world=2, even=True).share(lambda text: [text, text])


@pytest.mark.parametrize("stored", [False, True], ids=["streaming", "block"])
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [37, 41])
def test_even_ranks_get_as_many_batches_and_every_window_once(
    kitchen: Kitchen, tmp_path: Path, world: int, each: int, stored: bool, count: int
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}", "a" * 90) for n in range(count)])
    options = {"windows_per_step": each * world, "micro": each, "even": True}

    def opened() -> Stream:
        return open_(kitchen, [path], stored=stored, order={"packing": "none", "lanes": 2})

    ranks = Ranks(world, opened, shared=False, **options)
    for number in range(2):
        expected = ranks.feeds[0].steps_in_epoch(number)
        seen: Counter[str] = Counter()
        steps = 0
        while ranks.feeds[0].epochs_done == number:
            batches = ranks.step()
            steps += 1
            assert [len(mine) for mine in batches] == [1] * world
            for (batch,) in batches:
                assert batch.num_targets > 0
                assert len(batch.windows) <= max(each, 2)
                ids, bounds = batch.input_ids[0].tolist(), batch.cu_seqlens.tolist()
                seen.update(str(ids[a:b]) for a, b in itertools.pairwise(bounds))
        assert len(seen) == count
        assert set(seen.values()) == {1}
        assert steps == expected or not stored


@pytest.mark.parametrize(("rows", "said"), [(1, "1 window is"), (2, "2 windows are")])
def test_fewer_windows_than_even_ranks_are_refused(kitchen: Kitchen, tmp_path: Path, rows: int, said: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a")] * rows)
    order = {"packing": "none", "lanes": 1}
    feed = StreamBatches(open_(kitchen, [path], order=order), windows_per_step=3, micro=1, world=3, even=True)
    with pytest.raises(DataError, match=f"{said} left in this epoch, fewer than the 3 ranks"):
        feed.next_step()
