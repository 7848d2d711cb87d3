"""Cross entropy of a linear head, without ever holding the logits of all tokens.

    z = softcap * tanh(scale * (h W^T + b) / softcap)        (softcap 0: z = scale * (h W^T + b))
    loss_t = (1 - e) (lse(z_t) - z_t[y_t]) + e (lse(z_t) - mean(z_t))        e: label smoothing
    loss   = sum over t of a_t loss_t                                        a: weights, 1 if absent

Rows without a target are dropped before the head sees them. The others pass in chunks of a
fixed number of rows: logits are computed into one buffer, turned in place into their own
gradient and multiplied back at once, so the buffer of chunk x V values is all that is held
and the backward pass only scales. Sums run in a fixed order: the same bits on any number of
threads wherever the matrix product of the platform gives them.

Shapes: T tokens, N supervised tokens, C rows of a chunk, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from fastft.ops._library import define

IGNORE = -100
"""The target of a token that carries no loss."""

_BUFFER_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}
"""Size of the logits buffer: on a CPU what stays near the cache, on a GPU what fills it with work."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float = 0.0,
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Cross entropy between `hidden @ weight.T` and the targets.

    Args:
        hidden: (T, H), any float dtype.
        weight: (V, H), in the dtype of `hidden`.
        targets: (T,) int64; `IGNORE` (-100) where no loss is taken.
        bias: (V,), added to the logits.
        softcap: logits are bent to stay within +-softcap; 0 is off.
        scale: factor on the logits, before the softcap.
        label_smoothing: share of the target spread evenly over the vocabulary, in [0, 1).
        weights: (T,) float, what each target's loss is multiplied by; absent is 1 for all. No gradient flows to it.
        reduction: `mean` divides by the number of targets, or the sum of their weights; it is nan when that is 0.

    Returns:
        Scalar, float32 (float64 for float64 input). Gradients flow to `hidden`, `weight` and `bias`.

    Raises:
        ValueError: when shapes or dtypes do not fit together, or a target is outside the vocabulary.
    """
    _check(hidden, weight, targets, bias)
    if weights is not None and (weights.shape != targets.shape or not weights.is_floating_point()):
        raise ValueError(f"weights are ({targets.shape[0]},) float, not {tuple(weights.shape)} {weights.dtype}")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is `sum` or `mean`, not `{reduction}`")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing is in [0, 1), not {label_smoothing}")
    wanted = [
        torch.is_grad_enabled() and tensor is not None and tensor.requires_grad for tensor in (hidden, weight, bias)
    ]
    total: Tensor = _op(hidden, weight, targets, bias, softcap, scale, label_smoothing, *wanted, weights)[0]
    if reduction == "sum":
        return total
    counted = targets != IGNORE
    return total / (counted.sum() if weights is None else weights[counted].sum().to(total.dtype))


def token_log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float = 0.0,
    scale: float = 1.0,
) -> Tensor:
    """Log-probability of each target under the head; no gradient.

    Returns:
        (T,) float32 (float64 for float64 input); 0 where the target is `IGNORE`.

    Raises:
        ValueError: as `linear_cross_entropy`.
    """
    _check(hidden, weight, targets, bias)
    out = torch.zeros(targets.shape, dtype=_accumulator(hidden), device=hidden.device)
    with torch.no_grad():
        chunks = _Chunks(hidden, weight, targets, bias, softcap, scale)
        for at, z_CV, y_C in chunks:
            top_C1 = z_CV.amax(dim=1, keepdim=True)
            picked_C1 = z_CV.gather(1, y_C[:, None])
            total_C1 = z_CV.sub_(top_C1).exp_().sum(dim=1, keepdim=True)
            out[chunks.rows[at]] = (picked_C1 - top_C1 - total_C1.log_()).squeeze(1)
    return out


class _Chunks:
    """The supervised rows and their logits, chunk by chunk, in one reused buffer.

    Iterating gives `(slice of the compacted rows, logits (C, V), targets (C,))`; the logits are
    overwritten by the next step and may be changed in place.
    """

    def __init__(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, softcap: float, scale: float
    ) -> None:
        self.rows = (targets != IGNORE).nonzero().squeeze(1)
        every = self.rows.numel() == targets.numel()
        self.h_NH = hidden.contiguous() if every else hidden.index_select(0, self.rows)
        self.y_N = targets if every else targets.index_select(0, self.rows)
        if self.rows.numel() and not 0 <= int(self.y_N.min()) <= int(self.y_N.max()) < weight.shape[0]:
            raise ValueError(
                f"targets reach from {int(self.y_N.min())} to {int(self.y_N.max())}, the head has {weight.shape[0]} rows"
            )
        self.w_VH = weight
        self.bias = bias
        self.softcap = softcap
        self.scale = scale
        self.accumulator = _accumulator(hidden)
        self.size = chunk_rows(weight.shape[0], self.accumulator.itemsize, hidden.device.type, self.rows.numel())
        self.z_CV = hidden.new_empty((self.size, weight.shape[0]), dtype=self.accumulator)
        self.low_CV: Tensor | None = None
        if hidden.dtype != self.accumulator:  # the products run in the input's dtype, the softmax in float32
            self.low_CV = hidden.new_empty((self.size, weight.shape[0]))

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        for start in range(0, self.rows.numel(), self.size):
            at = slice(start, min(start + self.size, self.rows.numel()))
            count = at.stop - at.start
            z_CV = self.z_CV[:count]
            if self.low_CV is None:
                torch.mm(self.h_NH[at], self.w_VH.t(), out=z_CV)
            else:
                z_CV.copy_(torch.mm(self.h_NH[at], self.w_VH.t(), out=self.low_CV[:count]))
            if self.bias is not None:
                z_CV.add_(self.bias)
            if self.scale != 1.0:
                z_CV.mul_(self.scale)
            if self.softcap:
                z_CV.div_(self.softcap).tanh_().mul_(self.softcap)
            yield at, z_CV, self.y_N[at]


def chunk_rows(vocabulary: int, itemsize: int, device: str, rows: int) -> int:
    """How many rows of logits are held at once: a function of the shapes, not of the threads.

    Rows are spread evenly over the chunks, so the last one is no sliver.
    """
    most = max(64, _BUFFER_BYTES.get(device, 256 << 20) // (vocabulary * itemsize))
    chunks = max(1, -(-rows // most))
    return max(1, -(-rows // chunks))


def _reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    softcap: float,
    scale: float,
    label_smoothing: float,
    grad_hidden: bool,
    grad_weight: bool,
    grad_bias: bool,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    chunks = _Chunks(hidden, weight, targets, bias, softcap, scale)
    wide = chunks.accumulator
    total = torch.zeros((), dtype=wide, device=hidden.device)
    d_hidden = hidden.new_zeros(hidden.shape if grad_hidden else (0,))
    # A float32 sum for low-precision weights: one rounding at the end instead of one a chunk.
    d_weight = weight.new_zeros(weight.shape if grad_weight else (0,), dtype=wide)
    d_bias = weight.new_zeros((weight.shape[0],) if grad_bias else (0,), dtype=wide)
    backward = grad_hidden or grad_weight or grad_bias
    every = chunks.rows.numel() == targets.numel()
    a_N1 = None if weights is None else weights.index_select(0, chunks.rows).to(wide)[:, None]
    for at, z_CV, y_C in chunks:
        count, vocabulary = z_CV.shape
        y_C1 = y_C[:, None]
        top_C1 = z_CV.amax(dim=1, keepdim=True)
        picked_C1 = z_CV.gather(1, y_C1)
        mean_C1 = z_CV.mean(dim=1, keepdim=True) if label_smoothing else None
        bend_CV = None
        if softcap and backward:  # d tanh, while the logits still stand
            bend_CV = z_CV.div(softcap).square_().neg_().add_(1.0)
        z_CV.sub_(top_C1).exp_()
        sum_C1 = z_CV.sum(dim=1, keepdim=True)
        lse_C1 = sum_C1.log().add_(top_C1)
        loss_C1 = lse_C1 - picked_C1
        if mean_C1 is not None:
            loss_C1.mul_(1.0 - label_smoothing).add_(lse_C1 - mean_C1, alpha=label_smoothing)
        if a_N1 is not None:
            loss_C1.mul_(a_N1[at])
        total += loss_C1.sum()
        if not backward:
            continue
        # dz = (softmax - target) * scale; all of it still times sum_C1, divided out below where fewer values stand.
        z_CV.scatter_add_(1, y_C1, sum_C1 * (label_smoothing - 1.0))
        if label_smoothing:
            z_CV.sub_(sum_C1 * (label_smoothing / vocabulary))
        if bend_CV is not None:
            z_CV.mul_(bend_CV)
        share_C1 = scale / sum_C1
        if a_N1 is not None:
            share_C1.mul_(a_N1[at])
        h_CH = chunks.h_NH[at]
        if grad_bias:
            d_bias.addmv_(z_CV.t(), share_C1.squeeze(1))
        exact = chunks.low_CV is None
        dz_CV = z_CV if chunks.low_CV is None else torch.mul(z_CV, share_C1, out=chunks.low_CV[:count])
        if grad_hidden:
            d_CH = dz_CV @ weight
            if exact:
                d_CH.mul_(share_C1)
            if every:
                d_hidden[at] = d_CH
            else:
                d_hidden.index_copy_(0, chunks.rows[at], d_CH)
        if grad_weight:
            if exact:
                d_weight.addmm_(dz_CV.t(), h_CH * share_C1)
            elif hidden.device.type == "cuda":
                d_weight += torch.mm(dz_CV.t(), h_CH, out_dtype=wide)
            else:
                d_weight += dz_CV.t() @ h_CH
    return total, d_hidden, d_weight.to(weight.dtype), d_bias if bias is None else d_bias.to(bias.dtype)


def _fake(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    softcap: float,
    scale: float,
    label_smoothing: float,
    grad_hidden: bool,
    grad_weight: bool,
    grad_bias: bool,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide = _accumulator(hidden)
    return (
        hidden.new_empty((), dtype=wide),
        hidden.new_empty(hidden.shape if grad_hidden else (0,)),
        weight.new_empty(weight.shape if grad_weight else (0,)),
        weight.new_empty((weight.shape[0],) if grad_bias else (0,), dtype=wide if bias is None else bias.dtype),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.wanted = inputs[7:10]


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 11
    d_hidden, d_weight, d_bias = (
        (saved * grad).to(saved.dtype) if wanted else None
        for saved, wanted in zip(ctx.saved_tensors, ctx.wanted, strict=True)
    )
    return d_hidden, d_weight, None, d_bias, None, None, None, None, None, None, None


def _accumulator(hidden: Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def _check(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden is (T, H) and weight (V, H), not {tuple(hidden.shape)} and {tuple(weight.shape)}")
    if targets.shape != hidden.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(f"targets are ({hidden.shape[0]},) int64, not {tuple(targets.shape)} {targets.dtype}")
    if hidden.dtype != weight.dtype or not hidden.is_floating_point():
        raise ValueError(f"hidden and weight share a float dtype, not {hidden.dtype} and {weight.dtype}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias is ({weight.shape[0]},), not {tuple(bias.shape)}")


_op = define(
    "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor targets, Tensor? bias, float softcap, float scale, "
    "float label_smoothing, bool grad_hidden, bool grad_weight, bool grad_bias, Tensor? weights=None) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    reference=_reference,
    fake=_fake,
)
torch.library.register_autograd("fastft::linear_cross_entropy", _backward, setup_context=_save)
