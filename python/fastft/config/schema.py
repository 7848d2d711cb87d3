"""The shape of a config file: one field a table, each documented below it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fastft.config.augmentation import AUGMENTATIONS, Augmentation
from fastft.config.cleaning import CleanConfig, DecontaminateConfig, DedupConfig
from fastft.config.kinds import (
    FORMATS,
    METHODS,
    OPTIMIZERS,
    QUANTIZERS,
    SCHEDULES,
    STAGES,
    Format,
    Method,
    Optimizer,
    Quantizer,
    Schedule,
    Stage,
)
from fastft.config.section import OneOf, Section
from fastft.core.units import parse_count, parse_seconds


def _tokens(value: Any) -> Any:
    return parse_count(value, "tokens") if isinstance(value, str) else value


def _names(value: Any) -> Any:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return parse_seconds(value) if isinstance(value, str) else value


class ModelConfig(Section):
    """Which model, and how it is held."""

    path: str
    """A Hugging Face folder, a hub id, a `.gguf` file, or `embedded:smollm2-135m`."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; `auto` is bfloat16 where the device computes in it, else float32."""
    quantize: Annotated[Quantizer | None, OneOf(QUANTIZERS)] = None
    """How the frozen weights are held; absent means as they are."""
    attention: Literal["auto", "sdpa", "eager", "flex", "varlen", "s2"] = "auto"
    """Attention implementation; `auto` takes the fastest that keeps packed documents apart. `s2` trains with attention
    within groups of tokens, shifted by half a group for half the heads (LongLoRA's), whose cost grows with the length
    and not with its square; evaluation and generation attend to all tokens."""
    s2_group: Annotated[int | None, Field(ge=2, multiple_of=2)] = None
    """Tokens of a group of `attention = "s2"`; absent is a quarter of `data.max_length`. Documents that are no longer
    than a group have full attention."""
    recompute: Literal["none", "full"] = "none"
    """Activation checkpointing: `full` keeps layer inputs only and runs each layer again in the backward pass."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only with a `revision` you have read."""

    @model_validator(mode="after")
    def _groups(self) -> ModelConfig:
        if self.s2_group is not None and self.attention != "s2":
            raise ValueError('`s2_group` has no effect without `attention = "s2"`')
        return self


class SourceConfig(Section):
    """Rows: of a file, a folder, a pattern or an address."""

    path: str
    """File, glob or folder, relative to the working directory, else to the config file; an address (`https://`, `s3://`,
    `gs://`, `az://`, `hf://datasets/ORG/NAME`, and what fsspec knows), which is fetched once; or `-`, standard input."""
    dataset: Annotated[list[str] | None, BeforeValidator(_names, json_schema_input_type=str | list[str] | None)] = None
    """Datasets of the `dataset_info.json` that `path` names (LLaMA-Factory's): one, `"a,b"`, or a list."""
    format: Annotated[Format | None, OneOf(FORMATS)] = None
    """Which fields are which; absent means found from the first rows and printed."""
    name: str | None = None
    """What reports call this source; by default the file's name without its ending, of a pattern `folder/*.jsonl`."""
    encoding: str | None = None
    """What its text is encoded in, such as `windows-1251`, `gbk` or `utf-16le`; absent is UTF-8."""
    rows: Annotated[int | None, Field(gt=0, lt=2**63)] = None
    """Use the first so many rows only."""
    repeat: Annotated[int, Field(gt=0, le=1_000_000)] = 1
    """How many times each row is used in an epoch."""
    ignore: list[str] = Field(default=[])
    """Columns that are known not to be used: no warning names them. `["*"]` is all that `format` does not name.

    With a label's column among them, and no `format`, every answer is learnt, wanted or not.
    """
    weight: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """Share of this source's rows where `data.mixing` takes turns, relative to the others'; absent is 1."""


class DataConfig(Section):
    """What is learnt from, and how rows become tokens."""

    train: list[SourceConfig] = Field(min_length=1)
    """The sources to train on."""
    eval: list[SourceConfig] = Field(default=[])
    """The sources to evaluate on; absent means a part of `train`, see `eval.fraction`. Their rows are used as they are:
    `clean`, `decontaminate`, `dedup` and `augment` are for training rows."""
    template: str = "auto"
    """Chat template: `auto` is the tokenizer's own; a built-in name; or a path to a `.jinja` file."""
    max_length: Annotated[int, Field(ge=8, le=2**24)] = 2048
    """Tokens of the longest row, and of a packed window."""
    truncate: Literal["drop", "error", "right", "left", "middle", "turns", "split", "llamafactory"] = "drop"
    """What becomes of a longer row. Cut rows keep their end token; every cut is counted. `turns` leaves out the
    oldest questions with their answers, `middle` what is between beginning and end, `llamafactory` shares the room
    between question and answer as that program does; `split` is for text. Of pairs only the prompt is cut."""
    packing: Literal["best-fit", "none"] = "best-fit"
    """`best-fit` lays whole rows end to end in windows of `max_length`, attention kept apart; `none` is one row a window."""
    special_in_text: Literal["plain", "parse"] = "plain"
    """Control tokens that users typed: `plain` encodes them as ordinary text, `parse` as the tokenizer would."""
    mixing: Literal["concat", "first_exhausted", "all_exhausted", "all_exhausted_without_replacement"] = "concat"
    """How sources become one: `concat` uses every row; the others take turns by `weight`, until the first source has no
    row left, until each was seen whole (those that are begin again), or until none has (each row once)."""
    temperature: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """Shares of sources are multiplied by their number of rows (when streaming: bytes) to the power of 1 / this:
    1 is by size, a high one alike; absent, size has no part in it."""
    shuffle: Literal["global", "block", "none"] | None = None
    """Order of rows in an epoch: `global` over all rows; `block` within some megabytes from places all over the data,
    as streaming does; `none` as they are in the files. Absent means `global`, and `block` when streaming."""
    streaming: bool = False
    """Make tokens while training, without a pass over the data before; the order is that of `shuffle = "block"`. An
    epoch ends when its rows do, so that the number of steps told before is an estimate."""
    lanes: Annotated[int, Field(ge=1, le=1024)] = 8
    """Streams that windows of `block` order come from in turn, each from a part of the data: more mix better, and hold
    more of it in memory. Processes that train together share them: best is a multiple of their number."""
    thinking: Literal["keep", "strip", "mask_empty"] = "mask_empty"
    """Thinking blocks in answers: `keep` trains them as they are printed; `mask_empty` all but empty ones, which would
    teach not to think; `strip` removes them before the template sees the row."""
    clean: CleanConfig | None = None
    """What training rows are held to, repairs included; rows of `eval` are used as they are."""
    decontaminate: DecontaminateConfig | None = None
    """Evaluation sets that no training row may hold."""
    dedup: DedupConfig | None = None
    """Training rows that say the same: the first one stays. Rows of `eval` are used as they are."""
    augment: Annotated[list[Augmentation], OneOf(AUGMENTATIONS)] = Field(default=[])
    """Altered copies of training rows: each table makes copies of its own. Rows of `eval` have none."""
    on_bad: Literal["quarantine", "fail"] = "quarantine"
    """Rows that can't be used: set aside with file, line and reason, or end the run."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    """End the run when more than this part of the rows is quarantined."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of the data engine; 0 is one a core."""
    seed: int | None = None
    """Seed of the order of rows and of altered copies; absent means the run's `seed`."""

    @property
    def order(self) -> Literal["global", "block", "none"]:
        """How rows are shuffled."""
        return self.shuffle or ("block" if self.streaming else "global")

    def chosen_seed(self, run_seed: int) -> int:
        """The seed of order and altered copies, in 64 bits: `seed`, or that of the run."""
        return (run_seed if self.seed is None else self.seed) & (2**64 - 1)

    @model_validator(mode="after")
    def _mixing(self) -> DataConfig:
        if self.mixing == "concat":
            if any(source.weight is not None for source in self.train):
                raise ValueError('`weight` has no effect with `mixing = "concat"`; use `repeat`, or another mixing')
            if self.temperature is not None:
                raise ValueError('`temperature` has no effect with `mixing = "concat"`; choose another mixing')
        if any(source.weight is not None for source in self.eval):
            raise ValueError("`weight` has no effect in `eval`, where each row is used once")
        return self

    @model_validator(mode="after")
    def _order(self) -> DataConfig:
        if self.streaming and self.shuffle == "global":
            raise ValueError('`streaming` can\'t shuffle over all rows; leave `shuffle` out, or use "block"')
        if self.lanes != type(self).model_fields["lanes"].default and self.order != "block":
            raise ValueError('`lanes` has no effect without `shuffle = "block"` or `streaming`')
        if self.streaming and self.dedup is not None:
            raise ValueError(
                "finding duplicates takes a pass over all rows, which `streaming` does without; leave one out"
            )
        return self


class BatchConfig(Section):
    """How much one optimizer step sees, over all devices."""

    tokens: Annotated[int | None, Field(gt=0), BeforeValidator(_tokens, json_schema_input_type=int | str)] = None
    """Tokens of an optimizer step, also as `"64k tokens"`: `tokens / data.max_length` windows, at least one."""
    windows: Annotated[int | None, Field(gt=0)] = None
    """Windows of an optimizer step, instead of `tokens`. Without either: 8."""
    micro: Annotated[int | None, Field(gt=0)] = None
    """Windows of one forward pass; absent means found from the memory there is."""

    @model_validator(mode="after")
    def _one_size(self) -> BatchConfig:
        if self.tokens is not None and self.windows is not None:
            raise ValueError("`tokens` and `windows` both say how large a step is; keep one")
        return self


class CheckpointConfig(Section):
    """When the run is saved."""

    every: Annotated[int, Field(ge=0)] = 100
    """Optimizer steps between checkpoints; 0 is only at the end and when stopped."""
    keep: Annotated[int, Field(ge=1)] = 2
    """How many of the newest checkpoints stay; the best one stays besides."""


class EvalConfig(Section):
    """How the run is watched on rows it does not train on."""

    every: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps between evaluations; 0 is only at the end."""
    fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Part of the training rows set aside, when `data.eval` names no source."""


class StrategyConfig(Section):
    """How the work is spread over devices."""

    kind: Literal["auto", "single", "ddp"] = "auto"
    """`auto` is `ddp` when several processes take part, else `single`."""
    processes: Annotated[int, Field(gt=0)] = 1
    """Processes on this machine that `fastft train` starts for `ddp`."""
    timeout: Annotated[float, Field(gt=0), BeforeValidator(_seconds, json_schema_input_type=float | str)] = 600.0
    """Seconds, also as `"10min"`, that a rank waits for the others in a step or a save before it gives up; preparing
    data is not counted."""


class LogConfig(Section):
    """What is written while the run goes on."""

    tensorboard: bool = True
    """Write TensorBoard files into the run's folder."""
    every: Annotated[int, Field(gt=0)] = 1
    """Optimizer steps between lines on a terminal that is no TTY."""


class RunConfig(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    """Names the run's folder, `runs/<name>/<time>`."""
    seed: int = 42
    """Seed of everything random."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Times each row is seen; not used when `steps` is given."""
    steps: Annotated[int | None, Field(gt=0)] = None
    """Optimizer steps, instead of `epochs`."""
    model: ModelConfig
    data: DataConfig
    stage: Annotated[Stage, OneOf(STAGES)]
    """What is learnt."""
    method: Annotated[Method, OneOf(METHODS)]
    """Which weights are trained, and how."""
    optimizer: Annotated[Optimizer, OneOf(OPTIMIZERS)]
    """The rule that turns gradients into updates."""
    schedule: Annotated[Schedule | None, OneOf(SCHEDULES)] = None
    """How the learning rate moves; absent means cosine after 3 % warm-up."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm; 0 is off."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    batch: BatchConfig = BatchConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    eval: EvalConfig = EvalConfig()
    strategy: StrategyConfig = StrategyConfig()
    log: LogConfig = LogConfig()

    @property
    def chosen_s2_group(self) -> int | None:
        """Tokens of a group of S2 attention, even; None where that is not asked for."""
        if self.model.attention != "s2":
            return None
        return self.model.s2_group or 2 * -(-self.data.max_length // 8)

    @model_validator(mode="after")
    def _groups(self) -> RunConfig:
        if self.model.s2_group is not None and self.model.s2_group >= self.data.max_length:
            raise ValueError(
                "`model.s2_group` is not below `data.max_length`, so no document would be cut into groups; lower it, "
                "or leave `attention` out"
            )
        return self

    @model_validator(mode="after")
    def _streams(self) -> RunConfig:
        if self.data.streaming and self.eval.fraction > 0:
            raise ValueError("`eval.fraction` has to read every row, which `data.streaming` does not; name `data.eval`")
        return self
