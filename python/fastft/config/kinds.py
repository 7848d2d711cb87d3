"""The interfaces of all families: the map of the framework.

A config names a member of a family by `kind`; the layers above implement these classes, one
file a member. What a member is given to work with stands here too, so the signatures below
are all that a new member has to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from fastft.config.section import Member
from fastft.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.quantization_config import QuantizationConfigMixin

    from fastft.config.schema import RunConfig

METHODS: Registry[type[Method]] = Registry("method", "fastft.methods")
STAGES: Registry[type[Stage]] = Registry("stage", "fastft.stages")
OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", "fastft.optimizers")
SCHEDULES: Registry[type[Schedule]] = Registry("schedule", "fastft.schedules")
FORMATS: Registry[type[Format]] = Registry("format", "fastft.data.formats")
QUANTIZERS: Registry[type[Quantizer]] = Registry("quantizer", "fastft.models.quantizers")


class Format(Member):
    """Which fields of a row are which part of a conversation."""

    family: ClassVar[Registry[Any]] = FORMATS

    def mapping(self) -> dict[str, Any]:
        """The field map as the Rust engine takes it: `{"kind": ..., **fields}`."""
        return {"kind": self.kind, **self.model_dump()}


class Quantizer(Member):
    """How the frozen weights of the base model are held in memory."""

    family: ClassVar[Registry[Any]] = QUANTIZERS

    def quantize(self, model: PreTrainedModel) -> PreTrainedModel:
        """Replace the weights of the linear layers, in place; the head and embeddings stay."""
        raise NotImplementedError

    def while_reading(self) -> QuantizationConfigMixin | None:
        """What transformers' `from_pretrained` takes to do so while it reads; None: only afterwards."""
        return None


class Method(Member):
    """Which weights are trained, and how."""

    family: ClassVar[Registry[Any]] = METHODS
    saves: ClassVar[Literal["adapter", "model"]]
    """What a checkpoint holds: a PEFT adapter, or the whole model."""

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """Make the method's weights trainable and freeze all others; may wrap the model."""
        raise NotImplementedError


class Optimizer(Member):
    """The rule that turns gradients into updates."""

    family: ClassVar[Registry[Any]] = OPTIMIZERS
    lr: float
    """Peak learning rate."""

    def build(self, parameters: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """The optimizer over the trainable parameters, given by name."""
        raise NotImplementedError


class Schedule(Member):
    """How the learning rate moves over a run."""

    family: ClassVar[Registry[Any]] = SCHEDULES

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak learning rate for 0-based optimizer step `step` of `total`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Batch:
    """One micro-batch: documents laid end to end in one row of T tokens, no padding.

    Attributes:
        input_ids: (1, T) int64.
        targets: (1, T) int64; `targets[0, t]` is the id to predict from position t (already
            shifted: it is `input_ids[0, t + 1]` of the same document), or -100 where no loss is taken.
        position_ids: (1, T) int64, restarting at 0 with each document.
        cu_seqlens: (documents + 1,) int32, where each document begins and ends.
        max_seqlen: tokens of the longest document.
        num_targets: how many targets are not -100.
        windows: which windows of the pack plan these are, for error messages.
        weights: (1, T) float32, how much the loss of each target counts, 0 where there is none; None when all
            count the same.
        ranks: (documents,) int32, where rows are ranked or labelled: 0 for the best answer to a prompt or a
            desirable one, 1 and more for worse ones. The answers to one prompt stand together. Else None.
    """

    input_ids: Tensor
    targets: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    num_targets: int
    windows: tuple[int, ...]
    weights: Tensor | None = None
    ranks: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        from dataclasses import replace

        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            position_ids=self.position_ids.to(device, non_blocking=True),
            cu_seqlens=self.cu_seqlens.to(device, non_blocking=True),
            weights=None if self.weights is None else self.weights.to(device, non_blocking=True),
            ranks=None if self.ranks is None else self.ranks.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Loss:
    """What an objective returns for one micro-batch.

    Attributes:
        total: scalar, the *sum* of the losses; the loop divides by the weight of the whole step.
        weight: how many targets (or pairs) the sum runs over, or what they weigh together.
        metrics: further sums over the same weight, averaged by the loop for the record.
    """

    total: Tensor
    weight: float
    metrics: Mapping[str, Tensor]


class Objective(Protocol):
    """The training signal of a stage."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Score one micro-batch."""


@dataclass(frozen=True)
class Parts:
    """What a stage may use to build its objective."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    config: RunConfig
    out: Path


class Stage(Member):
    """What is learnt: the data columns it needs and the objective it minimises."""

    family: ClassVar[Registry[Any]] = STAGES
    columns: ClassVar[tuple[str, ...]] = ("input_ids", "targets")
    """What the data engine must deliver."""
    rows: ClassVar[Literal["conversation", "text", "preference", "labelled"]] = "conversation"
    """What a row of the data is; `preference` is a prompt with its answers, best first."""

    learns: ClassVar[bool] = True
    """Whether a row is bad of which no token carries a loss."""

    def train_on(self) -> str:
        """Which tokens carry a loss: `responses`, `last_response` or `all`."""
        return "all"

    def objective(self, parts: Parts) -> Objective:
        """The objective over the model that the method returned."""
        raise NotImplementedError

    def conflicts(self, run: RunConfig) -> Iterable[Any]:
        """See `Member.conflicts`."""
        return ()


@dataclass(frozen=True)
class TokenizerFiles:
    """A model's tokenizer as the engine reads it; `models.tokenizer_files` makes it, `data` uses it.

    Attributes:
        folder: holds `tokenizer.json`, written from the live Python object (the reference).
        chat_template: the tokenizer's own Jinja template, None when it has none.
        special_tokens: `bos_token`, `eos_token`, `pad_token`, `unk_token` as text, where set.
        bos_id: id of `bos_token`, None when there is none; likewise `eos_id`, `pad_id`.
        vocab_size: ids are below this.
        key: hash of all of the above and of the reference's versions.
    """

    folder: Path
    chat_template: str | None
    special_tokens: Mapping[str, str]
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    vocab_size: int
    key: str
