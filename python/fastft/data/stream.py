"""The block order: batches without a pass over the data before, and the same ones from a token store.

Windows come from *lanes* in turn (`rust/pipeline/src/stream`): the order is a function of (files, options, seed),
and a place in it is where each lane's group of documents began. An epoch ends when all lanes are through with their
rows; its last step may be smaller, as in every other order. Of a token store its number of steps is counted, of files
that are read now it is an estimate until they were read. Every rank makes all windows and keeps its own, since only
the rows themselves say where a lane ends.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError, ResumeError
from fastft.core.events import Bus, DataReady, Warned
from fastft.data.check import place
from fastft.data.dataset import TokenStore, assemble
from fastft.data.engine import engine
from fastft.data.plan import EnginePlan, make_plan
from fastft.data.prepare import prepare
from fastft.data.watch import tell_unused

if TYPE_CHECKING:
    from fastft.config.kinds import Batch, Stage, TokenizerFiles
    from fastft.config.schema import DataConfig

UNIT_BYTES = 1 << 20
"""Text that a lane reads in one place before it goes to another."""
_SEED_BITS = 2**64 - 1
_FEW_ROWS = 1000
"""Rows before which a part of bad ones says nothing."""


@dataclass(frozen=True)
class BlockOrder:
    """What decides the order of windows, beside the rows.

    Attributes:
        max_length: tokens of a window.
        packing: `best-fit` or `none`.
        lanes: streams of windows, at most.
        seed: of the order.
        shuffle: False keeps the rows' own order, in one lane.
        unit_bytes: text that is read in one place.
    """

    max_length: int
    packing: str
    lanes: int = 8
    seed: int = 0
    shuffle: bool = True
    unit_bytes: int = UNIT_BYTES

    @classmethod
    def of(cls, data: DataConfig, seed: int) -> BlockOrder:
        """The order that a config asks for; `seed` is the run's."""
        return cls(data.max_length, data.packing, data.lanes, data.chosen_seed(seed), data.order != "none")

    def json(self, mix: Mapping[str, Any]) -> str:
        """As the engine takes it."""
        return json.dumps(
            {
                "mix": dict(mix),
                "lanes": self.lanes,
                "unit_bytes": self.unit_bytes,
                "max_length": self.max_length,
                "pack": self.packing != "none",
                "shuffle": self.shuffle,
                "seed": self.seed & _SEED_BITS,
            }
        )


class Stream:
    """Windows in the block order, opened; nothing is read before the first is wanted.

    Args:
        plan: the sources.
        order: of the windows.
        store: the tokens that were made of the sources; None makes them now.
        ranked: whether batches say the rank of each document even where all have the same.
    """

    def __init__(
        self, plan: EnginePlan, order: BlockOrder, *, store: TokenStore | None = None, ranked: bool = False
    ) -> None:
        options = order.json(plan.mix)
        native = None if store is None else store.native
        self.native = engine().Stream(plan.json, options, plan.fallback, native, ranked)
        self.live = store is None
        self.lanes = int(self.native.lanes)
        self.key = str(self.native.key)
        parts = [self.key if store is None else store.key, "" if store is None else store.side, options]
        self.fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def estimate(self) -> dict[str, float]:
        """About how many items, tokens and windows an epoch has."""
        found: dict[str, float] = json.loads(self.native.estimate())
        return found

    def count(self, epoch: int) -> int | None:
        """Windows of an epoch; None when only reading all of it can tell."""
        found = self.native.count(epoch)
        return None if found is None else int(found)

    def books(self) -> dict[str, Any] | None:
        """What became of the rows that were read so far; None when they come from a store."""
        text = self.native.books()
        return None if text is None else json.loads(text)


class StreamBatches:
    """One rank's view of a stream, step after step, over epochs for ever; see `Batches`.

    Each epoch has each row as often as the mixture says, and its last step has the windows that are left.

    Args:
        stream: the windows.
        windows_per_step: windows of an optimizer step, over all ranks.
        micro: windows of one batch.
        rank: this process's number.
        world: how many processes share a step.
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
        ledger: Ledger | None = None,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self._stream, self._windows_per_step, self._micro = stream, windows_per_step, micro
        self._rank, self._world, self._ledger = rank, world, ledger
        self._epoch, self._step = 0, 0
        self._counted: dict[int, int] = {}
        self._estimate: dict[str, float] | None = None

    @property
    def known(self) -> bool:
        """Whether the number of steps is exact."""
        return not self._stream.live

    def steps_in_epoch(self, epoch: int = 0) -> int:
        """Optimizer steps of an epoch: counted with a store, and otherwise about, the same for every epoch."""
        if not self.known:
            return max(1, round(self.estimate["windows"] / self._windows_per_step))
        if epoch not in self._counted:
            self._counted[epoch] = max(1, -(-(self._stream.count(epoch) or 0) // self._windows_per_step))
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
        """The micro-batches of this rank for the next optimizer step; none on a small last step, perhaps."""
        begin = self._step * self._windows_per_step
        offsets = range(self._windows_per_step)
        groups = [offsets[at : at + self._micro] for at in range(0, len(offsets), self._micro)]
        mine = groups[self._rank :: self._world]
        wanted = [offset for group in mine for offset in group]
        taken, passed, over = self._stream.native.take(self._windows_per_step, wanted)
        batches, at = [], 0
        for group in mine:
            here = [offset for offset in group if offset < passed]
            if here:
                places = list(range(at, at + len(here)))
                batches.append(assemble(taken, places, tuple(begin + offset for offset in here)))
                at += len(here)
        self._epoch, self._step = (self._epoch + 1, 0) if over else (self._epoch, self._step + 1)
        if self._ledger is not None:
            self._ledger.look(self._stream)
        return batches

    def state_dict(self) -> dict[str, Any]:
        """The place in the data, which is the same for all ranks."""
        stream = json.loads(self._stream.native.state())
        return {"version": 3, "order": self._order(), "epoch": self._epoch, "step": self._step, "stream": stream}

    @staticmethod
    def merged(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The place in the data of all ranks together, which each knows."""
        return dict(states[0])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data; the number of ranks and `micro` may have changed.

        Raises:
            ResumeError: the place is in other data, or in another order.
        """
        if state.get("version") != 3 or state.get("order") != self._order():
            raise ResumeError(
                "the checkpoint's place is in other data or in another order of it",
                hint="data, `max_length`, packing, batch size, lanes and seed have to be those of the checkpoint",
                code="run.resume-data",
            )
        self._stream.native.load(json.dumps(state["stream"]))
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    def _order(self) -> str:
        return f"{self._stream.fingerprint}-{self._windows_per_step}"


@dataclass(frozen=True)
class Streamed:
    """Data that is made while it is trained on; `Prepared` for streaming.

    Attributes:
        stream: the rows to train on.
        eval: the rows to evaluate on, prepared; None without.
        books: what became of the evaluation's rows; those of training are counted as they come.
        key: content key: of the training files their sizes and both ends, of the evaluation's all.
        cached: False; nothing is kept of the training rows.
        seconds: how long it took.
        sources: for each source its name, path, files, bytes and the format that is used.
    """

    stream: Stream
    eval: TokenStore | None
    books: dict[str, Any]
    key: str
    cached: bool
    seconds: float
    sources: list[dict[str, Any]]


def open_stream(
    data: DataConfig,
    stage: Stage,
    tokenizer: TokenizerFiles,
    *,
    seed: int,
    config_dir: Path | None = None,
    cache: Path | None = None,
    bus: Bus,
) -> Streamed:
    """Open the training sources for streaming, and prepare those of the evaluation.

    Args:
        data: which rows, and how they become tokens.
        stage: which tokens carry a loss.
        tokenizer: makes ids.
        seed: of the order, when `data.seed` is absent.
        config_dir: where relative paths are looked for when the working directory has no such file.
        cache: folder of prepared data; None is fastft's.
        bus: hears of warnings and the end.

    Raises:
        DataError: a source can't be used.
        ConfigError: the template can't be found.
    """
    begin = time.monotonic()
    cache = cache or paths.cache_folder()
    options: dict[str, Any] = {"config_dir": config_dir, "cache": cache}
    plan = make_plan(data, data.train, stage, tokenizer, **options, augment_seed=data.chosen_seed(seed), bus=bus)
    stream = Stream(plan, BlockOrder.of(data, seed), ranked=stage.rows not in ("conversation", "text"))
    sources = json.loads(stream.native.sources() or "[]")
    for source, origin in zip(sources, plan.origins, strict=True):
        source |= {"origin": origin} if origin else {}
        for sentence in source.pop("warnings"):
            bus.emit(Warned("data.source", sentence))
        if source.pop("guessed"):
            kind = source["format"]["kind"]
            bus.emit(
                Warned("data.format-found", f"source `{source['name']}` is read as `{kind}`, found from its first rows")
            )
    tell_unused(plan.unused, bus)
    if plan.slow_template is not None:
        bus.emit(
            Warned(
                "data.template-in-python",
                f"the chat template is rendered by transformers, a row at a time: {plan.slow_template}",
            )
        )
    evaluation = None
    if data.eval:
        changes = {"train": data.eval, "eval": [], "streaming": False, "shuffle": None, "mixing": "concat"}
        untouched: dict[str, Any] = {"clean": None, "decontaminate": None, "dedup": None, "augment": []}
        rows = data.model_copy(update={**changes, **untouched, "temperature": None})
        evaluation = prepare(rows, stage, tokenizer, seed=seed, **options, bus=bus)
    books = {"streaming": True} | ({} if evaluation is None else {"eval": evaluation.books})
    streamed = Streamed(
        stream=stream,
        eval=None if evaluation is None else evaluation.train,
        books=books,
        key=stream.key if evaluation is None else f"{stream.key}-{evaluation.key}",
        cached=False,
        seconds=time.monotonic() - begin,
        sources=sources + ([] if evaluation is None else evaluation.sources),
    )
    bus.emit(DataReady(key=streamed.key, cached=False, books=books, seconds=streamed.seconds))
    return streamed


class Ledger:
    """Lists rows that are not used while they are met, and ends the run when too many can't be.

    Args:
        folder: `rejected.jsonl` (rows that can't be used), `left_out.jsonl` (rows that a rule left out) and
            `books.json` are written there; None writes nothing.
        most: part of the rows that may be bad.
        bus: hears of the first bad row, and each time there are ten times as many.
    """

    def __init__(self, folder: Path | None, most: float, bus: Bus) -> None:
        self._folder, self._most, self._bus, self._next = folder, most, bus, 1
        # a resumed run meets the rows of its last groups again
        self._known = {name: self._listed(name) for name in ("rejected", "left_out")}

    def look(self, stream: Stream) -> None:
        """Take what came up since the last look.

        Raises:
            DataError: too many rows are bad.
        """
        bad_rows = self._list("rejected", stream.native.rejected())
        left_out = self._list("left_out", stream.native.left_out())
        if not bad_rows and not left_out:
            return
        books = stream.books() or {}
        if self._folder is not None:
            paths.write_atomic(self._folder / "books.json", json.dumps(books, indent=2) + "\n")
        total = books["total"]
        bad, read = sum(total["quarantined"].values()), total["read"]
        rejected = None if self._folder is None else self._folder / "rejected.jsonl"
        if read >= _FEW_ROWS and bad > self._most * read:
            raise DataError(
                f"{bad:,} of the {read:,} rows read so far can't be used, "
                f"more than `data.max_bad_fraction` = {self._most:g}",
                hint=None if rejected is None else f"see {rejected}",
                code="data.too-many-bad",
            )
        if bad_rows and len(self._known["rejected"]) >= self._next:
            while self._next <= len(self._known["rejected"]):
                self._next *= 10
            first = bad_rows[0]
            self._bus.emit(
                Warned(
                    "data.quarantined",
                    f"{bad:,} of the {read:,} rows read so far can't be used, "
                    f"one is {place(first['file'], first['line'], first.get('at'))}: {first['code']}: {first['reason']}",
                    hint=None if rejected is None else f"each is listed with file, line and reason in {rejected}",
                )
            )

    def _listed(self, name: str) -> set[tuple[str, int]]:
        path = None if self._folder is None else self._folder / f"{name}.jsonl"
        if path is None or not path.is_file():
            return set()
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        return {(row["file"], row["line"]) for row in rows}

    def _list(self, name: str, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Write the rows that are new, and return them."""
        fresh, text = [], ""
        for line in lines:
            row = json.loads(line)
            if (row["file"], row["line"]) not in self._known[name]:
                self._known[name].add((row["file"], row["line"]))
                fresh.append(row)
                text += line + "\n"
        if fresh and self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
                file.write(text)
        return fresh
