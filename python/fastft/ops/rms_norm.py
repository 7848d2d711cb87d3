"""Root mean square normalization, one read and one write a pass.

    y = x rstd (offset + w)        rstd = 1 / sqrt(mean(x^2) + eps)
    dx = rstd (g - x rstd mean(g x rstd))        g = dy (offset + w)
    dw = sum over rows of dy x rstd

Sums and products run in float32 (float64 for float64) and are rounded once; only x and rstd are kept.
Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.

Shapes: x (..., H), w (H,).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastft.ops._library import define


def rms_norm(x: Tensor, weight: Tensor, *, eps: float = 1e-6, offset: float = 0.0) -> Tensor:
    """Normalize the last dimension.

    Args:
        x: (..., H), any float dtype.
        weight: (H,), in the dtype of `x`.
        eps: added to the mean of squares.
        offset: added to the weight: 1 for Gemma's, whose weights are around 0.

    Returns:
        As `x`. Gradients flow to `x` and `weight`.

    Raises:
        ValueError: when shapes or dtypes do not fit together.
    """
    if weight.dim() != 1 or x.shape[-1:] != weight.shape or x.dtype != weight.dtype or not x.is_floating_point():
        raise ValueError(
            f"x is (..., H) and weight (H,) in its dtype, not {tuple(x.shape)} {x.dtype} and "
            f"{tuple(weight.shape)} {weight.dtype}"
        )
    y, _ = _op(x, weight, eps, offset)
    return y  # type: ignore[no-any-return]


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _reference(x: Tensor, weight: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor]:
    x_MH = x.reshape(-1, weight.shape[0]).to(_wide(x))
    rstd_M = (x_MH.square().mean(dim=1) + eps).rsqrt()
    y_MH = x_MH * rstd_M[:, None] * (offset + weight.to(x_MH.dtype))
    return y_MH.to(x.dtype).view(x.shape), rstd_M


def _fake(x: Tensor, weight: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty((x.numel() // weight.shape[0],), dtype=_wide(x))


def _backward_reference(
    dy: Tensor, x: Tensor, weight: Tensor, rstd: Tensor, offset: float, need_x: bool, need_weight: bool
) -> tuple[Tensor, Tensor]:
    wide = _wide(x)
    dy_MH = dy.reshape(-1, weight.shape[0]).to(wide)
    n_MH = x.reshape(dy_MH.shape).to(wide) * rstd[:, None]
    dx, sums_GH = x.new_empty((0,)), x.new_empty((0, weight.shape[0]), dtype=wide)
    if need_x:
        g_MH = dy_MH * (offset + weight.to(wide))
        dx = (rstd[:, None] * (g_MH - n_MH * (g_MH * n_MH).mean(dim=1, keepdim=True))).to(x.dtype).view(x.shape)
    if need_weight:
        groups = -(-rstd.numel() // _GROUP)
        terms_MH = torch.nn.functional.pad(dy_MH * n_MH, (0, 0, 0, groups * _GROUP - rstd.numel()))
        sums_GH = terms_MH.view(groups, _GROUP, weight.shape[0]).sum(dim=1)
    return dx, sums_GH


def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, rstd: Tensor, offset: float, need_x: bool, need_weight: bool
) -> tuple[Tensor, Tensor]:
    groups = -(-rstd.shape[0] // _GROUP) if need_weight else 0
    return x.new_empty(x.shape if need_x else (0,)), x.new_empty((groups, weight.shape[0]), dtype=_wide(x))


_GROUP = 128  # rows whose gradients of the weight are summed first, as in csrc/ops/pointwise_cpu.cpp


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, offset = inputs
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.offset = offset


def _backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 4
    x, weight, rstd = ctx.saved_tensors
    need_x, need_weight = ctx.needs_input_grad[:2]
    dx, sums_GH = _backward_op(dy, x, weight, rstd, ctx.offset, need_x, need_weight)
    return dx if need_x else None, sums_GH.sum(dim=0).to(weight.dtype) if need_weight else None, None, None


_op = define(
    "rms_norm(Tensor x, Tensor weight, float eps, float offset) -> (Tensor, Tensor)", reference=_reference, fake=_fake
)
_backward_op = define(
    "rms_norm_backward(Tensor dy, Tensor x, Tensor weight, Tensor rstd, float offset, bool need_x, bool need_weight) "
    "-> (Tensor, Tensor)",
    reference=_backward_reference,
    fake=_backward_fake,
)
torch.library.register_autograd("fastft::rms_norm", _backward, setup_context=_save)
