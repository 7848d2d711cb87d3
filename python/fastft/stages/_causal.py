"""The objective of causal language models: cross entropy without the logits.

    loss = - sum over t with a target of a_t log softmax(softcap(scale * (W h_t + b)))[target_t]

where a_t is 1 unless rows weigh their messages; the loop then divides by the sum of a_t.

The model's body gives the hidden states h (T, H); the head W (V, H) is applied in chunks, to
the positions that have a target only, inside `ops.linear_cross_entropy`, so `[tokens,
vocabulary]` is never held. What a model does to its logits besides (soft-capping, a factor) is
read from its config, and the first batch proves it: on a slice of real rows the result must be
that of the model's own logits. Where it is not, those are used, with a warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastft.config.kinds import Batch, Loss
from fastft.core.errors import ModelError
from fastft.models.attention import body, packed_inputs
from fastft.models.precision import autocast
from fastft.ops import linear_cross_entropy

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_CHECKED_TOKENS = 96
"""Positions of the first batch that the self test compares."""


@dataclass(frozen=True)
class Head:
    """What follows the hidden states: `softcap * tanh(scale * (W h + b) / softcap)`; 0 is no cap."""

    linear: nn.Linear
    scale: float
    softcap: float


class CausalObjective:
    """Cross entropy of a batch's targets; see the module.

    Args:
        model: what the method returned: a transformers model, or a PEFT model around one.

    Raises:
        ModelError: when the model has no linear output head.
    """

    def __init__(self, model: nn.Module) -> None:
        base = base_model(model)
        linear: object = base.get_output_embeddings()  # type: ignore[no-untyped-call]
        if not isinstance(linear, nn.Linear):
            raise ModelError(
                f"{type(base).__name__} has no linear output head, so it can't learn to predict tokens",
                code="model.no-head",
            )
        self._head = Head(linear, *logit_transform(base.config))
        self._chunked: bool | None = None
        """Whether the self test let the chunked path pass; None before the first batch."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Score one micro-batch: the sum over its targets, and how many there are or what they weigh together."""
        base = base_model(model)
        with autocast(base):
            if self._chunked is None:
                self._chunked = self._self_test(base, batch)
            total = self._chunked_loss(base, batch) if self._chunked else _full_loss(base, batch)
        weight = batch.num_targets if batch.weights is None else float(batch.weights.sum(dtype=torch.float64))
        return Loss(total=total, weight=weight, metrics={})

    def _chunked_loss(self, base: PreTrainedModel, batch: Batch) -> Tensor:
        hidden_TH = _hidden(base, batch)
        linear = self._head.linear
        return linear_cross_entropy(
            hidden_TH,
            linear.weight,
            batch.targets[0],
            bias=linear.bias,
            softcap=self._head.softcap,
            scale=self._head.scale,
            weights=None if batch.weights is None else batch.weights[0],
            reduction="sum",
        )

    def _self_test(self, base: PreTrainedModel, batch: Batch) -> bool:
        """Whether the chunked loss of the batch's first document is that of the model's own logits."""
        piece = _slice(batch, _CHECKED_TOKENS)
        training = base.training
        base.train(False)  # dropout would make any two passes differ
        try:
            with torch.no_grad():
                ours = float(self._chunked_loss(base, piece))
                theirs = float(_full_loss(base, piece))
        finally:
            base.train(training)
        low = base.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(base.device.type)
        allowed = (2e-2 if low else 1e-4) * max(1.0, abs(theirs))
        # A loss that is not finite is the loop's to report, with both paths alike.
        if abs(ours - theirs) <= allowed or not (ours == ours and theirs == theirs):
            return True
        warnings.warn(
            f"{type(base).__name__} changes its logits in a way that is not known here (loss {ours:.4f}, by its own "
            f"logits {theirs:.4f}): its own are used, which takes more memory",
            stacklevel=2,
        )
        return False


def base_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside what a method or a strategy may have wrapped round it."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    if hasattr(inner, "get_base_model"):  # a PEFT model; peft itself is imported in `methods` only
        inner = cast("nn.Module", inner.get_base_model())  # type: ignore[operator]
    return cast("PreTrainedModel", inner)


def logit_transform(config: PretrainedConfig) -> tuple[float, float]:
    """Factor and soft cap that a model of this config puts on its logits; (1, 0) is none."""
    text = config.get_text_config()
    scale = 1.0
    for name in ("logit_scale", "lm_head_multiplier"):  # Cohere, Falcon-H1
        scale *= getattr(text, name, None) or 1.0
    scale /= getattr(text, "logits_scaling", None) or 1.0  # Granite
    return scale, float(getattr(text, "final_logit_softcapping", None) or 0.0)  # Gemma


def _hidden(base: PreTrainedModel, batch: Batch) -> Tensor:
    """(T, H): the states that the head is applied to."""
    inputs = packed_inputs(base, batch.position_ids, batch.cu_seqlens, batch.max_seqlen)
    hidden: Tensor = body(base)(input_ids=batch.input_ids, **inputs).last_hidden_state
    return hidden[0]


def _full_loss(base: PreTrainedModel, batch: Batch) -> Tensor:
    """The same loss over the logits that the model itself returns."""
    inputs = packed_inputs(base, batch.position_ids, batch.cu_seqlens, batch.max_seqlen)
    logits = base(input_ids=batch.input_ids, **inputs).logits[0]
    if batch.weights is None:
        return F.cross_entropy(logits.float(), batch.targets[0], ignore_index=-100, reduction="sum")
    losses = F.cross_entropy(logits.float(), batch.targets[0], ignore_index=-100, reduction="none")
    return (losses * batch.weights[0]).sum()


def _slice(batch: Batch, tokens: int) -> Batch:
    """About the first `tokens` positions from the first target on, as whole documents but the last."""
    with_target = (batch.targets[0] != -100).nonzero()
    first = int(with_target[0]) if with_target.numel() else 0
    bounds = batch.cu_seqlens.tolist()
    start = max(bound for bound in bounds[:-1] if bound <= first)
    end = min(batch.input_ids.shape[1], max(first + 8, start + tokens))
    inside = [start, *(bound for bound in bounds if start < bound < end), end]
    targets = batch.targets[:, start:end]
    return Batch(
        input_ids=batch.input_ids[:, start:end],
        targets=targets,
        position_ids=batch.position_ids[:, start:end],
        cu_seqlens=torch.tensor([bound - start for bound in inside], dtype=torch.int32, device=targets.device),
        max_seqlen=max(b - a for a, b in pairwise(inside)),
        num_targets=int((targets != -100).sum()),
        windows=batch.windows,
        weights=None if batch.weights is None else batch.weights[:, start:end],
    )
