"""Batches in the block order: one rank's view of a stream.

Ranks that can talk to each other (`StreamBatches.share`) make a part of the lanes each. Which lane the next window comes
from depends on how many windows the lanes have and on nothing in them, so it is these numbers that ranks exchange, when
the known ones run out: about once a group of windows. Without that every rank makes all lanes and keeps its windows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastft.core.errors import DataError, FastftError, ResumeError
from fastft.data.dataset import assemble
from fastft.data.ledger import Ledger, News
from fastft.data.steps import num_steps, step_size, too_few
from fastft.data.stream import Stream

if TYPE_CHECKING:
    from fastft.config.kinds import Batch

Exchange = Callable[[bytes], Sequence[bytes]]
"""Gives what each rank has to say to all of them, by rank; all ranks call it together."""


class StreamBatches:
    """One rank's view of a stream, step after step, over epochs for ever; see `Batches`.

    Each epoch has each row as often as the mixture says, and its last step has the windows that are left.

    Args:
        stream: the windows.
        windows_per_step: windows of an optimizer step, over all ranks.
        micro: windows of one batch.
        rank: this process's number.
        world: how many processes share a step.
        even: every rank gets one batch a step, with a window or more: the last two steps of an epoch share their windows
            where the last has too few for all ranks.
        ledger: hears of rows that can't be used.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        windows_per_step: int,
        micro: int,
        rank: int = 0,
        world: int = 1,
        even: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self._stream, self._windows_per_step, self._micro = stream, windows_per_step, micro
        self._rank, self._world, self._even, self._ledger = rank, world, even, ledger
        self._least = world if even else 1
        self._parts = 1
        self._exchange: Exchange | None = None
        self._epoch, self._step = 0, 0
        self._counted: dict[int, int] = {}
        self._estimate: dict[str, float] | None = None

    def share(self, exchange: Exchange) -> None:
        """Make only the lanes that windows are taken from here, on every rank; windows and their order stay.

        Lanes and ranks fall into as many parts as their numbers have in common (`parts`), and each part of the ranks
        makes its part of the lanes. A rank takes windows of its lanes only: where those of an epoch are through before
        others, it has fewer of the last steps.
        """
        if self._even:
            raise ValueError("ranks whose batches have to be even can't share lanes")
        self._exchange, self._parts = exchange, parts(self._stream.lanes, self._world)
        self._stream.native.load(self._stream.native.state())  # lanes of others are closed

    @property
    def known(self) -> bool:
        """Whether the number of steps is exact."""
        return not self._stream.live

    def steps_in_epoch(self, epoch: int = 0) -> int:
        """Optimizer steps of an epoch: counted with a store, and otherwise about, the same for every epoch."""
        if not self.known:
            return max(1, round(self.estimate["windows"] / self._windows_per_step))
        if epoch not in self._counted:
            windows = self._stream.count(epoch) or 0
            self._counted[epoch] = max(1, num_steps(windows, self._windows_per_step, self._least))
        return self._counted[epoch]

    @property
    def estimate(self) -> dict[str, float]:
        """About how long an epoch is."""
        if self._estimate is None:
            self._estimate = self._stream.estimate()
        return self._estimate

    @property
    def epoch(self) -> float:
        """How often the data was seen; within an epoch of unknown length about."""
        return self._epoch + min(self._step / self.steps_in_epoch(self._epoch), 1 - 1e-6)

    @property
    def epochs_done(self) -> int:
        """Epochs that are over."""
        return self._epoch

    def reached(self, epochs: float) -> bool:
        """Whether so many epochs are over; of a part of one, by the estimate."""
        whole = int(epochs)
        if self._epoch != whole:
            return self._epoch > whole
        part = epochs - whole
        return not part or self._step >= math.ceil(part * self.steps_in_epoch(whole) - 1e-9)

    def next_step(self) -> list[Batch]:
        """The micro-batches of this rank for the next optimizer step; on a last step, perhaps none.

        Raises:
            DataError: rows can't be read, here or by another rank, or too many can't be used; with `even`, an epoch has
                fewer windows than there are ranks.
        """
        native, begin = self._stream.native, self._step * self._windows_per_step
        lanes, over = self._ahead(self._windows_per_step + self._least - 1)
        if self._even and len(lanes) < self._world:
            raise too_few(len(lanes), self._world)
        size = step_size(len(lanes), self._windows_per_step, self._least) if over else self._windows_per_step
        takers = deal(lanes[:size], self._parts, self._world)
        mine = [offset for offset, taker in enumerate(takers) if taker == self._rank]
        taken, _, over = native.take(size, mine)
        micro = size if self._even else self._micro
        batches = [
            assemble(
                taken, list(range(at, min(at + micro, len(mine)))), tuple(begin + n for n in mine[at : at + micro])
            )
            for at in range(0, len(mine), micro)
        ]
        self._epoch, self._step = (self._epoch + 1, 0) if over else (self._epoch, self._step + 1)
        if self._ledger is not None and self._exchange is None:
            self._ledger.enter(News.of(self._stream))
        return batches

    def _ahead(self, count: int) -> tuple[list[int], bool]:
        """The lanes of the next windows, as many as the epoch has, and whether it is over behind them."""
        native = self._stream.native
        while lacking := native.lacking(count):
            for known in native.make(lacking) if self._exchange is None else self._made(lacking, self._exchange):
                native.learn(*known)
        found: tuple[list[int], bool] = native.ahead(count)
        return found

    def _made(self, lacking: Sequence[tuple[int, int]], exchange: Exchange) -> list[list[int]]:
        """Make the lanes of this rank among these, and learn from the other ranks what they made."""
        try:
            known = self._stream.native.make([each for each in lacking if each[0] % self._parts == self._part])
            # of the ranks that make the same lanes one speaks
            news = News.of(self._stream) if self._rank < self._parts else News()
            message = json.dumps({"known": known, "news": vars(news)})
        except BaseException as error:  # whatever it is, the others wait for a word of this rank
            exchange(json.dumps({"error": _said(error)}).encode())
            raise
        answers = [json.loads(text) for text in exchange(message.encode())]
        for rank, answer in enumerate(answers):
            if "error" in answer:
                message, code = answer["error"]
                raise DataError(f"rank {rank} can't go on: {message}", code=code)
        speakers = answers[: self._parts]
        if self._ledger is not None:
            self._ledger.enter(News.together(News(**answer["news"]) for answer in speakers))
        return [each for answer in speakers for each in answer["known"]]

    @property
    def _part(self) -> int:
        return self._rank % self._parts

    def state_dict(self) -> dict[str, Any]:
        """The place in the data; of ranks that share lanes each knows its own, see `merged`."""
        stream = json.loads(self._stream.native.state())
        for lane in range(len(stream["lanes"])):
            if lane % self._parts != self._part:
                stream["lanes"][lane] = None
        return {"version": 3, "order": self._order(), "epoch": self._epoch, "step": self._step, "stream": stream}

    @staticmethod
    def merged(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The place in the data of all ranks together."""
        every = zip(*(state["stream"]["lanes"] for state in states), strict=True)
        lanes = [next(lane for lane in known if lane is not None) for known in every]
        return {**states[0], "stream": {**states[0]["stream"], "lanes": lanes}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data; the number of ranks and `micro` may have changed.

        Raises:
            ResumeError: the place is in other data, or in another order, or of one rank of several.
        """
        if state.get("version") != 3 or state.get("order") != self._order():
            raise ResumeError(
                "the checkpoint's place is in other data or in another order of it",
                hint="data, `max_length`, packing, batch size, lanes and seed have to be those of the checkpoint",
                code="run.resume-data",
            )
        if None in state["stream"]["lanes"]:
            raise ResumeError(
                "the place is that of one rank, which knows its own lanes only",
                hint="`StreamBatches.merged` makes one of the places of all ranks",
                code="run.resume-data",
            )
        self._stream.native.load(json.dumps(state["stream"]))
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    def _order(self) -> str:
        return f"{self._stream.fingerprint}-{self._windows_per_step}"


def _said(error: BaseException) -> list[str]:
    """What the other ranks are told of an error: message and code."""
    if isinstance(error, FastftError):
        return [error.message, error.code]
    return [f"{type(error).__name__}: {error}".rstrip(": "), FastftError.default_code]


def parts(lanes: int, world: int) -> int:
    """Into how many parts lanes and ranks fall that share them; those of a part are as many in each."""
    return math.gcd(lanes, world)


def deal(lanes: Sequence[int], parts: int, world: int) -> list[int]:
    """The rank that takes each window of a step, from the lanes that the windows come from.

    A rank takes windows of the lanes of its part, which go to the ranks of the part in turn. While all lanes live, ranks
    get as many windows, give or take one.
    """
    turns, takers = [0] * parts, []
    for lane in lanes:
        part = lane % parts
        takers.append(part + parts * (turns[part] % (world // parts)))
        turns[part] += 1
    return takers
