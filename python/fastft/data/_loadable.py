"""Batches as torch's `DataLoader` and other loops take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch.utils.data import IterableDataset, get_worker_info

from fastft.config.kinds import Batch
from fastft.core.errors import UnsupportedError


class Feed(Protocol):
    """`Batches` or `StreamBatches`."""

    def steps_in_epoch(self, epoch: int = 0) -> int:
        """Batches of an epoch."""

    @property
    def epoch(self) -> float:
        """How often the data was seen."""

    @property
    def epochs_done(self) -> int:
        """Epochs that are over."""

    def next_step(self) -> list[Batch]:
        """The next batch, in a list."""

    def state_dict(self) -> dict[str, Any]:
        """The place in the data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data."""


def as_tensors(batch: Batch) -> dict[str, Any]:
    """A batch by the names that transformers' models take.

    `labels` are not shifted: the model does that. Documents are told apart by `position_ids`, `cu_seqlens` and
    `max_seqlen`. `weights` (aligned with `labels`) and `ranks` are there where rows have them.
    """

    def unshifted(tensor: torch.Tensor, first: float) -> torch.Tensor:
        return torch.cat([torch.full_like(tensor[:, :1], first), tensor[:, :-1]], dim=1)

    tensors: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "labels": unshifted(batch.targets, -100),
        "position_ids": batch.position_ids,
        "cu_seqlens": batch.cu_seqlens,
        "max_seqlen": batch.max_seqlen,
    }
    if batch.weights is not None:
        tensors["weights"] = unshifted(batch.weights, 0)
    if batch.ranks is not None:
        tensors["ranks"] = batch.ranks
    return tensors


class TrainingData(IterableDataset):  # type: ignore[type-arg]
    """Training batches: each `for` goes to the end of an epoch, the next one through the one after it.

    Use it as it is, or as `DataLoader(data, batch_size=None)`. The place is `state_dict()`, also in the middle of an
    epoch; going back to it repeats and leaves out nothing.

    Attributes:
        feed: where batches come from.
        known: whether the length of an epoch is exact.
    """

    def __init__(self, feed: Feed, *, known: bool, convert: Callable[[Batch], Any]) -> None:
        self.feed, self.known, self._convert = feed, known, convert
        self._epoch = 0

    def __iter__(self) -> Iterator[Any]:
        _refuse_workers()
        while self.feed.epochs_done <= self._epoch:
            for batch in self.feed.next_step():
                yield self._convert(batch)
        self._epoch += 1

    def __len__(self) -> int:
        """Batches of this epoch.

        Raises:
            TypeError: the rows are streamed, so nobody knows.
        """
        if not self.known:
            raise TypeError("a stream has no length that is known; `feed.steps_in_epoch()` estimates one")
        return self.feed.steps_in_epoch(self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """The place in the data."""
        return {"feed": self.feed.state_dict(), "epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data.

        Raises:
            ResumeError: it is in other data, or in another order of it.
        """
        self.feed.load_state_dict(state["feed"])
        self._epoch = int(state["epoch"])


class EvaluationData(IterableDataset):  # type: ignore[type-arg]
    """Evaluation batches: every row once, in the same order each time."""

    def __init__(self, batches: Callable[[], Iterator[Batch]], convert: Callable[[Batch], Any]) -> None:
        self._batches, self._convert = batches, convert

    def __iter__(self) -> Iterator[Any]:
        _refuse_workers()
        return map(self._convert, self._batches())


def _refuse_workers() -> None:
    if get_worker_info() is not None:
        raise UnsupportedError(
            "the data engine has threads of its own, and worker processes would repeat rows",
            hint="use `DataLoader(..., num_workers=0)`; `data.threads` sets the engine's",
            code="unsupported.workers",
        )
