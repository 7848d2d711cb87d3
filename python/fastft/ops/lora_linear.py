"""Frozen linear layers with low-rank updates, in as few passes over activations as there can be.

    S = x A^T                      y = x W^T + b + s S B^T
    dS = s dy B                    dx = dy W + dS A
    dA = dS^T x                    dB = s dy^T S

W is dense or held in NF4 (QLoRA, Dettmers et al. 2023, https://arxiv.org/abs/2305.14314). The backward
pass keeps x and S only, and decodes a packed W again. Layers that share x (q, k, v; gate, up) go as a
group: x is read once for all A, and there is one dx. W and b are frozen: they receive no gradient.

Shapes: x (..., K), W (N, K), A (r, K), B (N, r); a group has a W, b, A, B, s each, and S (M, sum of r).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastft.ops._library import define
from fastft.ops.frozen_linear import frozen_linear, frozen_linear_bwd, parts_of
from fastft.ops.lora_passes import lora_bwd_dy, lora_bwd_x, lora_down, narrow_dtype
from fastft.ops.nf4 import NF4Weight


def lora_linear(x: Tensor, w: Tensor, a: Tensor, b: Tensor, scale: float, *, bias: Tensor | None = None) -> Tensor:
    """Apply a frozen linear layer and its low-rank update.

    Args:
        x: (..., K), any float dtype.
        w: (N, K), frozen; in the dtype of `x`.
        a: (r, K), trained, any float dtype.
        b: (N, r), trained; likewise.
        scale: alpha / r, or alpha / sqrt(r) for rsLoRA.
        bias: (N,), frozen.

    Returns:
        (..., N), in the dtype of `x`. Gradients flow to `x`, `a` and `b`.

    Raises:
        ValueError: when the shapes do not fit together.
    """
    return lora_linears(x, [w], [a], [b], [scale], biases=None if bias is None else [bias])[0]


def qlora_linear(x: Tensor, q: NF4Weight, a: Tensor, b: Tensor, scale: float, *, bias: Tensor | None = None) -> Tensor:
    """Apply a frozen linear layer whose weight is held in NF4, and its low-rank update.

    Args:
        x: (..., K), any float dtype.
        q: of shape (N, K), as `nf4_quantize` gives it.
        a: (r, K), trained, any float dtype.
        b: (N, r), trained; likewise.
        scale: alpha / r, or alpha / sqrt(r) for rsLoRA.
        bias: (N,), frozen.

    Returns:
        (..., N), in the dtype of `x`. Gradients flow to `x`, `a` and `b`.

    Raises:
        ValueError: when the shapes do not fit together.
    """
    return lora_linears(x, [q], [a], [b], [scale], biases=None if bias is None else [bias])[0]


def lora_linears(
    x: Tensor,
    weights: Sequence[Tensor | NF4Weight],
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    scales: Sequence[float],
    *,
    biases: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """Apply several frozen linear layers and their low-rank updates to one input.

    Args:
        x: (..., K), any float dtype.
        weights: (N, K) each, all dense in the dtype of `x`, or all in NF4 with one blocksize.
        a: (r, K) each, trained, any float dtype.
        b: (N, r) each, trained.
        scales: one each.
        biases: (N,) each, frozen; absent when no layer has one.

    Returns:
        (..., N) each, in the dtype of `x`.

    Raises:
        ValueError: when the shapes do not fit together, or the weights are not all held alike.
    """
    base, blocksize = parts_of(weights)
    biases = list(biases or [])
    if not len(weights) == len(a) == len(b) == len(scales) or len(biases) not in (0, len(weights)):
        raise ValueError("a group has as many a, b, scales and biases as weights")
    for i, (weight, a_rK, b_Nr) in enumerate(zip(weights, a, b, strict=True)):
        shape = tuple(weight.shape)
        wanted = (b_Nr.shape[0], a_rK.shape[1])
        if shape != wanted or a_rK.shape[0] != b_Nr.shape[1] or x.shape[-1] != shape[1]:
            raise ValueError(
                f"x (..., K), w (N, K), a (r, K) and b (N, r) do not fit together: "
                f"{tuple(x.shape)}, {shape}, {tuple(a_rK.shape)}, {tuple(b_Nr.shape)}"
            )
        if biases and biases[i].shape != shape[:1]:
            raise ValueError(f"bias is ({shape[0]},), not {tuple(biases[i].shape)}")
    ys, _ = _op(x, base, blocksize, biases, list(a), list(b), [float(scale) for scale in scales])
    return tuple(ys)


def _columns(s: Tensor, a: list[Tensor]) -> list[Tensor]:
    return list(torch.split(s, [a_rK.shape[0] for a_rK in a], dim=1))


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _reference(
    x: Tensor,
    base: list[Tensor],
    blocksize: int,
    bias: list[Tensor],
    a: list[Tensor],
    b: list[Tensor],
    scale: list[float],
) -> tuple[list[Tensor], Tensor]:
    x_MK = _rows(x)
    s_MR = lora_down(x_MK, a[0] if len(a) == 1 else torch.cat(a))
    each = len(base) // len(a)
    ys = [
        frozen_linear(
            x_MK, base[i * each : (i + 1) * each], blocksize, bias[i] if bias else None, low, b[i], scale[i]
        ).view(*x.shape[:-1], b[i].shape[0])
        for i, low in enumerate(_columns(s_MR, a))
    ]
    return ys, s_MR


def _fake(
    x: Tensor,
    base: list[Tensor],
    blocksize: int,
    bias: list[Tensor],
    a: list[Tensor],
    b: list[Tensor],
    scale: list[float],
) -> tuple[list[Tensor], Tensor]:
    rows = x.numel() // x.shape[-1]
    ys = [x.new_empty((*x.shape[:-1], b_Nr.shape[0])) for b_Nr in b]
    return ys, x.new_empty((rows, sum(a_rK.shape[0] for a_rK in a)), dtype=narrow_dtype(x))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[list[Tensor], Tensor]) -> None:
    x, base, blocksize, bias, a, b, scale = inputs
    ctx.save_for_backward(x, output[1], *base, *a, *b)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.blocksize, ctx.scale, ctx.counts = blocksize, scale, (len(base), len(bias), len(a))


def _backward(ctx: Any, dys: list[Tensor | None], _: Tensor | None) -> tuple[Any, ...]:
    bases, biases, count = ctx.counts
    x, s_MR, *rest = ctx.saved_tensors
    base, a, b = rest[:bases], rest[bases : bases + count], rest[bases + count :]
    needs = ctx.needs_input_grad
    frozen = (None, [None] * bases, None, [None] * biases)
    if all(dy is None for dy in dys):
        return (*frozen, [None] * count, [None] * count, None)
    dy = [
        x.new_zeros((*x.shape[:-1], b_Nr.shape[0])) if given is None else given
        for given, b_Nr in zip(dys, b, strict=True)
    ]
    dx, da, db = _backward_op(dy, x, base, ctx.blocksize, a, b, s_MR, ctx.scale, needs[0], any(needs[4]))
    return (
        dx if needs[0] else None,
        *frozen[1:],
        [grad if need else None for grad, need in zip(da, needs[4], strict=True)],
        [grad if need else None for grad, need in zip(db, needs[5], strict=True)],
        None,
    )


def _backward_reference(
    dy: list[Tensor],
    x: Tensor,
    base: list[Tensor],
    blocksize: int,
    a: list[Tensor],
    b: list[Tensor],
    s: Tensor,
    scale: list[float],
    need_x: bool,
    need_a: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    dy_MN = [_rows(each) for each in dy]
    both = [
        lora_bwd_dy(grad, b_Nr, low, factor)
        for grad, b_Nr, low, factor in zip(dy_MN, b, _columns(s, a), scale, strict=True)
    ]
    ds = [ds_MR for ds_MR, _ in both]
    db = [each.to(b_Nr.dtype) for (_, each), b_Nr in zip(both, b, strict=True)]
    dx, da = x.new_empty((0,)), [a_rK.new_empty((0,)) for a_rK in a]
    if need_a:
        da_RK = lora_bwd_x(_rows(x), ds[0] if len(ds) == 1 else torch.cat(ds, dim=1))
        pieces = torch.split(da_RK, [a_rK.shape[0] for a_rK in a])
        # A group's gradients are copies: results that share memory are not what an op returns.
        da = [each.to(a_rK.dtype, copy=len(a) > 1) for each, a_rK in zip(pieces, a, strict=True)]
    if need_x:
        dx = frozen_linear_bwd(dy_MN, base, blocksize, ds, a).view(x.shape)
    return dx, da, db


def _backward_fake(
    dy: list[Tensor],
    x: Tensor,
    base: list[Tensor],
    blocksize: int,
    a: list[Tensor],
    b: list[Tensor],
    s: Tensor,
    scale: list[float],
    need_x: bool,
    need_a: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    return (
        x.new_empty(x.shape if need_x else (0,)),
        [a_rK.new_empty(a_rK.shape if need_a else (0,)) for a_rK in a],
        [b_Nr.new_empty(b_Nr.shape) for b_Nr in b],
    )


_op = define(
    "lora_linear(Tensor x, Tensor[] base, int blocksize, Tensor[] bias, Tensor[] a, Tensor[] b, float[] scale) "
    "-> (Tensor[], Tensor)",
    reference=_reference,
    fake=_fake,
)
_backward_op = define(
    "lora_linear_backward(Tensor[] dy, Tensor x, Tensor[] base, int blocksize, Tensor[] a, Tensor[] b, Tensor s, "
    "float[] scale, bool need_x, bool need_a) -> (Tensor, Tensor[], Tensor[])",
    reference=_backward_reference,
    fake=_backward_fake,
)
torch.library.register_autograd("fastft::lora_linear", _backward, setup_context=_save)
