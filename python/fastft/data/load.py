"""A config's data for Python: a torch-compatible, stateful dataset of packed batches.

from fastft import data

train = data.load("config.toml")
for batch in train:  # {"input_ids": ..., "labels": ..., "position_ids": ..., "cu_seqlens": ..., "max_seqlen": ...}
...
state = train.state_dict()
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.core.events import Bus
from fastft.data.dataset import Batches, evaluation_batches
from fastft.data.ledger import Ledger
from fastft.data.prepare import prepare
from fastft.data.stream import BlockOrder, Stream, open_stream
from fastft.data.stream_batches import StreamBatches

if TYPE_CHECKING:
    from fastft.config.kinds import TokenizerFiles
    from fastft.config.schema import RunConfig
    from fastft.data._loadable import EvaluationData, TrainingData


def _check(config: object, split: str, windows: int, rank: int, world: int) -> None:
    """Refuse arguments that mean nothing, in the caller's words."""
    from fastft.config.schema import RunConfig

    if not isinstance(config, str | Path | RunConfig):
        raise TypeError(f"config is a {type(config).__name__}; expected a path, or a config of `load_config`")
    if split not in ("train", "eval"):
        raise ValueError(f"split is {split!r}; expected 'train' or 'eval'")
    if windows < 1:
        raise ValueError(f"windows is {windows}; a batch has 1 or more")
    if not 0 <= rank < world:
        raise ValueError(f"there is no rank {rank} of {world}; the first is 0")


def load(
    config: RunConfig | str | Path,
    overrides: Iterable[str] = (),
    *,
    split: Literal["train", "eval"] = "train",
    windows: int = 1,
    rank: int = 0,
    world: int = 1,
    as_batches: bool = False,
    tokenizer: TokenizerFiles | None = None,
    cache: Path | None = None,
    bus: Bus | None = None,
) -> TrainingData | EvaluationData:
    """The rows of a config as batches of token ids; they are prepared first, unless `data.streaming` is set.

    How long to train is the caller's: `epochs` and `steps` of the config have no effect here. With `world` > 1 every
    rank gives as many training batches, and every row is used: where the last step of an epoch would have too few
    windows for all ranks, it takes some of the one before, or is joined to it. Nobody tells this process of the others
    here, so each makes all tokens of a stream and keeps its own (the trainer's ranks share the work). Evaluation batches
    are dealt in turn, each once.

    Args:
        config: a TOML file, or a config made with `load_config`.
        overrides: `key=value` strings, as `--set` takes them; only with a file.
        split: the training rows, or those of the evaluation.
        windows: windows of `data.max_length` tokens in a batch.
        rank: this process's number, where several share the data.
        world: how many do.
        as_batches: give `Batch` objects, with shifted targets, and no dicts.
        tokenizer: makes ids; by default the model's.
        cache: folder of prepared data; by default fastft's.
        bus: hears of progress, warnings and the end.

    Returns:
        An iterable, in `DataLoader(..., batch_size=None)` as well; training data has `state_dict` and
        `load_state_dict`, which count batches of this rank.

    Raises:
        ConfigError: with every problem of the file.
        ValueError: `split`, `windows`, `rank` or `world` is impossible.
        DataError: nothing is left to train on, or less than a window a rank; or a source can't be used; or there is no
            evaluation.
    """
    from fastft.data._loadable import EvaluationData, TrainingData, as_tensors

    _check(config, split, windows, rank, world)
    folder = None
    if isinstance(config, str | Path):
        from fastft.config.load import load as read

        loaded = read(config, overrides, files=True)
        config, folder = loaded.config, loaded.folder
    if tokenizer is None:
        import fastft  # the package's face knows models, which this layer does not

        tokenizer = fastft.tokenizer_files(config)
    bus, cache = bus or Bus(), cache or paths.cache_folder()
    convert = (lambda batch: batch) if as_batches else as_tensors
    # A step of one micro-batch a rank: a batch, and its number, is what callers count.
    share: dict[str, Any] = {"windows_per_step": windows * world, "micro": windows, "rank": rank, "world": world}
    common: dict[str, Any] = {"seed": config.seed, "config_dir": folder, "cache": cache, "bus": bus}
    if config.data.streaming:
        opened = open_stream(config.data, config.stage, tokenizer, **common)
        evaluation = opened.eval
        if split == "train":
            ledger = Ledger(None, config.data.max_bad_fraction, bus)
            return TrainingData(
                StreamBatches(opened.stream, even=True, ledger=ledger, **share), known=False, convert=convert
            )
    else:
        rows = prepare(config.data, config.stage, tokenizer, eval_fraction=config.eval.fraction, **common)
        evaluation = rows.eval
        if split == "train" and config.data.order == "block":
            stream = Stream(rows.plan, BlockOrder.of(config.data, config.seed), store=rows.train)
            return TrainingData(StreamBatches(stream, even=True, **share), known=True, convert=convert)
        if split == "train":
            feed = Batches(
                rows.train,
                max_length=config.data.max_length,
                packing=config.data.packing,
                seed=config.seed if config.data.seed is None else config.data.seed,
                shuffle=config.data.order != "none",
                even=True,
                **share,
            )
            return TrainingData(feed, known=True, convert=convert)
    if evaluation is None:
        raise DataError(
            "the config has no evaluation", hint="name `data.eval`, or set `eval.fraction`", code="data.no-eval"
        )
    options: dict[str, Any] = {"max_length": config.data.max_length, "packing": config.data.packing}
    store = evaluation
    return EvaluationData(lambda: evaluation_batches(store, micro=windows, rank=rank, world=world, **options), convert)
