"""The block order: batches without a pass over the data before, and the same ones from a token store.

Windows come from *lanes* in turn (`rust/pipeline/src/stream`): the order is a function of (files, options, seed),
and a place in it is where each lane's group of documents began. An epoch ends when all lanes are through with their
rows; its last step may be smaller, as in every other order. Of a token store its number of steps is counted, of files
that are read now it is an estimate until they were read.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.events import Bus, DataReady, Warned
from fastft.data.dataset import TokenStore
from fastft.data.engine import engine
from fastft.data.plan import EnginePlan, make_plan
from fastft.data.prepare import prepare
from fastft.data.proof import tell
from fastft.data.watch import tell_unused

if TYPE_CHECKING:
    from fastft.config.kinds import Stage, TokenizerFiles
    from fastft.config.schema import DataConfig

UNIT_BYTES = 1 << 20
"""Text that a lane reads in one place before it goes to another."""
_SEED_BITS = 2**64 - 1


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
    if plan.ids is not None:
        tell(plan.ids, bus)
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
