"""Batches: windows of packed documents for one rank, in an order that needs no memory.

The order is a function of (store, options, seed, epoch). Micro-batches of a step are dealt to
the ranks in turn, so the union over any number of ranks is what one rank would see, and a place
in the data is two numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.config.kinds import Batch
from fastft.core.errors import DataError, ResumeError
from fastft.data.engine import engine
from fastft.data.steps import num_steps, step_size, too_few

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

_SEED_BITS = 2**64 - 1


@dataclass(frozen=True)
class TokenStore:
    """Prepared rows, mapped from the disk.

    Attributes:
        folder: the Arrow files, `manifest.json` and `rejected.jsonl`.
        manifest: its content.
        mix: how sources become one order: `mixing`, `repeats`, `weights` and `temperature`.
        native: the engine's handle.
        side: `all`, or the side of the split with what chose it.
    """

    folder: Path
    manifest: dict[str, Any]
    mix: Mapping[str, Any]
    native: Any
    side: str = "all"

    @classmethod
    def open(
        cls,
        folder: Path,
        split: str = "all",
        fraction: float = 0.0,
        seed: int = 0,
        mix: Mapping[str, Any] | None = None,
    ) -> TokenStore:
        """Open a store, or the `train` or `eval` side of it.

        Raises:
            DataError: it is damaged or of another version.
        """
        native = engine().Store(str(folder), split, fraction, seed & _SEED_BITS)
        side = "all" if split == "all" or not fraction else f"{split} {fraction!r} {seed}"
        return cls(folder, json.loads(native.manifest()), dict(mix or {}), native, side)

    def __len__(self) -> int:
        return len(self.native)

    @property
    def key(self) -> str:
        """The content key."""
        return str(self.manifest["key"])

    @property
    def rows(self) -> int:
        """Rows that these documents come from."""
        return int(self.native.rows)

    @property
    def tokens(self) -> int:
        """Ids, over all documents."""
        return int(self.native.tokens)

    @property
    def targets(self) -> int:
        """Ids that carry a loss."""
        return int(self.native.targets)

    def counts(self) -> dict[str, int]:
        """Rows, documents, tokens and targets."""
        return {"rows": self.rows, "documents": len(self), "tokens": self.tokens, "targets": self.targets}

    def document(self, index: int) -> tuple[list[int], list[bool]]:
        """Ids of a document, and which of them carry a loss."""
        ids, spans = self.native.document(index)
        trained = [False] * len(ids)
        for begin, end in zip(spans[::2], spans[1::2], strict=True):
            trained[begin:end] = [True] * (end - begin)
        return ids, trained

    def arrow(self) -> pa.Table:
        """All documents of the store, both sides of a split, as columns mapped from the disk: nothing is copied.

        `ids`, `spans` (begin and end of each run that carries a loss), `weights` (of the runs, empty when all
        are 1), `rank`, `variant`, `row` and `line` (counted from their part's beginning) and `hash`. For numpy:
        `arrow()["ids"].chunk(0).values.to_numpy()` is a view.
        """
        import pyarrow

        batches: list[Any] = []
        for section in self.manifest["parts"]:
            reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(self.folder / section["name"])))
            batches += [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return pyarrow.Table.from_batches(batches)

    def place(self, index: int) -> tuple[str, int]:
        """File and 1-based line that a document comes from."""
        _, file, _, line = self.native.place(index)
        return str(self.manifest["files"][file]["path"]), int(line)


class Batches:
    """One rank's view of a store, step after step, over epochs for ever.

    Args:
        store: the rows.
        max_length: tokens of a window.
        packing: `best-fit` or `none`.
        windows_per_step: windows of an optimizer step, over all ranks.
        micro: windows of one batch.
        seed: of the order.
        rank: this process's number.
        world: how many processes share a step.
        shuffle: False keeps the rows' own order in every epoch.
        even: every rank gets one batch a step, with a window or more: the last two steps of an epoch share their windows
            where the last has too few for all ranks.

    Raises:
        DataError: there is no row; with `even`, there are fewer windows than ranks.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        max_length: int,
        packing: str,
        windows_per_step: int,
        micro: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        even: bool = False,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self._store, self._max_length, self._packing = store, max_length, packing
        self._windows_per_step, self._micro = windows_per_step, micro
        self._seed, self._rank, self._world, self._shuffle = seed & _SEED_BITS, rank, world, shuffle
        self._even, self._least = even, world if even else 1
        self._epoch, self._step, self._begin = 0, 0, 0
        self._planned: tuple[int, Any] | None = None
        # Packed over all rows, every epoch has as many windows; where sources take turns, each has its own number.
        self._steady = packing == "none" or store.mix.get("mixing", "concat") == "concat"
        self._counted: dict[int, int] = {}
        if not len(self._windows()):
            raise DataError("there is no row to train on", code="data.empty")
        if len(self._windows()) < self._least:
            raise too_few(len(self._windows()), world)

    def steps_in_epoch(self, epoch: int = 0) -> int:
        """Optimizer steps of an epoch; the last may be smaller."""
        if self._steady:
            return self._steps(self._windows())
        if epoch not in self._counted:
            here, self._epoch = self._epoch, epoch
            try:
                self._counted[epoch] = self._steps(self._windows())
            finally:
                self._epoch = here
        return self._counted[epoch]

    def _steps(self, windows: Any) -> int:
        return num_steps(len(windows), self._windows_per_step, self._least)

    @property
    def epoch(self) -> float:
        """How often the data was seen."""
        return self._epoch + self._step / self.steps_in_epoch(self._epoch)

    @property
    def epochs_done(self) -> int:
        """Epochs that are over."""
        return self._epoch

    @property
    def num_windows(self) -> int:
        """Windows of an epoch."""
        return len(self._windows())

    def next_step(self) -> list[Batch]:
        """The micro-batches of this rank for the next optimizer step; none on a small last step, perhaps.

        Raises:
            DataError: with `even`, an epoch has fewer windows than there are ranks.
        """
        windows = self._windows()
        left = len(windows) - self._begin
        if left < self._least:
            raise too_few(left, self._world)
        end = self._begin + step_size(left, self._windows_per_step, self._least)
        places = list(range(self._begin, end))
        if self._world > 1:
            places = deal(windows.costs(places), places, self._world)[self._rank]
        micro = len(places) if self._even else self._micro
        batches = [assemble(windows, places[at : at + micro]) for at in range(0, len(places), micro or 1)]
        self._step, self._begin = self._step + 1, end
        if end >= len(windows):
            self._epoch, self._step, self._begin = self._epoch + 1, 0, 0
        return batches

    def state_dict(self) -> dict[str, Any]:
        """The place in the data, and a fingerprint of everything that decides the order."""
        place = {"epoch": self._epoch, "step": self._step, "begin": self._begin}
        return {"version": 1, "order": self._fingerprint(), **place}

    @staticmethod
    def merged(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The place in the data of all ranks together, which each knows."""
        return dict(states[0])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data; the number of ranks and `micro` may have changed.

        Raises:
            ResumeError: the place is in other data, or in another order.
        """
        if state.get("version") != 1 or state.get("order") != self._fingerprint():
            raise ResumeError(
                "the checkpoint's place is in other data or in another order of it",
                hint="data, `max_length`, packing, batch size and seed have to be those of the checkpoint",
                code="run.resume-data",
            )
        self._epoch, self._step = int(state["epoch"]), int(state["step"])
        # with `even`, where a step begins depends on the number of ranks
        self._begin = int(state.get("begin", self._step * self._windows_per_step))

    def _fingerprint(self) -> str:
        parts = (
            self._store.key,
            self._store.side,
            len(self._store),
            self._store.mix,
            self._max_length,
            self._packing,
            self._windows_per_step,
            self._seed,
            self._shuffle,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _windows(self) -> Any:
        if self._planned is None or self._planned[0] != self._epoch:
            shuffle = (self._seed, self._epoch) if self._shuffle else None
            windows = engine().Windows(
                self._store.native, self._max_length, self._packing, json.dumps(self._store.mix), shuffle
            )
            self._planned = (self._epoch, windows)
        return self._planned[1]


def deal(costs: Sequence[int], places: Sequence[int], world: int) -> list[list[int]]:
    """Share the windows of a step among ranks: as many for each, give or take one, and as even in cost as may be.

    The dearest go first, each to the rank that has least (longest processing time first, Graham 1969).
    """
    each, extra = divmod(len(places), world)
    loads, shares = [0] * world, [list[int]() for _ in range(world)]
    for cost, place in sorted(zip(costs, places, strict=True), key=lambda pair: (-pair[0], pair[1])):
        open_ranks = [rank for rank in range(world) if len(shares[rank]) < each + (extra > 0)]
        rank = min(open_ranks, key=lambda rank: (loads[rank], len(shares[rank])))
        extra -= len(shares[rank]) == each
        loads[rank] += cost
        shares[rank].append(place)
    return [sorted(share) for share in shares]


def evaluation_batches(
    store: TokenStore, *, max_length: int, packing: str, micro: int, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Every row once, in a fixed order; batches are dealt to the ranks in turn."""
    windows = engine().Windows(store.native, max_length, packing)
    for number, begin in enumerate(range(0, len(windows), micro)):
        if number % world == rank:
            yield assemble(windows, list(range(begin, min(begin + micro, len(windows)))))


def assemble(windows: Any, places: list[int], names: tuple[int, ...] | None = None) -> Batch:
    """Lay the documents of some windows end to end in new tensors, which the engine fills in place.

    Args:
        windows: the engine's.
        places: which of them.
        names: what the batch calls them, where that is not their places.
    """
    import torch

    tokens, documents, weighted = windows.measure(places)
    input_ids, targets, position_ids = (torch.empty((1, tokens), dtype=torch.int64) for _ in range(3))
    cu_seqlens = torch.empty(documents + 1, dtype=torch.int32)
    weights = torch.empty((1, tokens), dtype=torch.float32) if weighted else None
    ranks = torch.empty(documents, dtype=torch.int32) if windows.ranked else None
    max_seqlen, num_targets = windows.fill(
        places,
        *(_memory(tensor) for tensor in (input_ids, targets, position_ids, cu_seqlens)),
        None if weights is None else _memory(weights),
        None if ranks is None else _memory(ranks),
    )
    return Batch(
        input_ids=input_ids,
        targets=targets,
        position_ids=position_ids,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
        num_targets=num_targets,
        windows=tuple(places) if names is None else names,
        weights=weights,
        ranks=ranks,
    )


def _memory(tensor: torch.Tensor) -> Any:
    """The tensor's memory as a one-dimensional array, not copied."""
    return tensor.view(-1).numpy()
