"""A frozen linear layer with a low-rank update, in as few passes over activations as torch allows.

    S = x A^T                      y = x W^T + b + s S B^T
    dS = s dy B                    dx = dy W + dS A
    dA = dS^T x                    dB = s dy^T S

The update is added in place onto the base product, and the backward pass keeps x and S only.
W and b are frozen: they receive no gradient.

Shapes: x (..., K), W (N, K), A (r, K), B (N, r).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastft.ops._library import define


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Apply a frozen linear layer and its low-rank update.

    Args:
        x: (..., K), any float dtype.
        weight: (N, K), frozen; in the dtype of `x`.
        bias: (N,) or None, frozen.
        a: (r, K), trained; cast to the dtype of `x` for the products.
        b: (N, r), trained; likewise.
        scale: alpha / r, or alpha / sqrt(r) for rsLoRA.

    Returns:
        (..., N), in the dtype of `x`. Gradients flow to `x`, `a` and `b`.
    """
    y, _ = _op(x, weight, bias, a, b, scale)
    return y  # type: ignore[no-any-return]


def _reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    x_MK = x.reshape(-1, x.shape[-1])
    y_MN = x_MK @ weight.t() if bias is None else torch.addmm(bias, x_MK, weight.t())
    narrow = _narrow_dtype(x)
    s_MR = x_MK.to(narrow) @ a.to(narrow).t()
    _add_product(y_MN, s_MR, b.to(narrow).t(), scale)
    return y_MN.view(*x.shape[:-1], weight.shape[0]), s_MR


def _narrow_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the products with A and B: a CPU has no fast 16-bit ones of such shapes."""
    return torch.float32 if x.device.type == "cpu" and x.dtype.itemsize == 2 else x.dtype


def _add_product(into: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    if into.dtype == left.dtype:
        into.addmm_(left, right, alpha=scale)
    else:
        into.add_(left @ right, alpha=scale)


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    rows = x.numel() // x.shape[-1]
    return x.new_empty((*x.shape[:-1], weight.shape[0])), x.new_empty((rows, a.shape[0]), dtype=_narrow_dtype(x))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, a, b, scale = inputs
    ctx.save_for_backward(x, weight, a, b, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.scale = scale


def _backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 6
    x, weight, a, b, s_MR = ctx.saved_tensors
    dx, da, db = _backward_op(
        dy, x, weight, a, b, s_MR, ctx.scale, ctx.needs_input_grad[0], ctx.needs_input_grad[3], ctx.needs_input_grad[4]
    )
    needs = ctx.needs_input_grad
    return dx if needs[0] else None, None, None, da if needs[3] else None, db if needs[4] else None, None


def _backward_reference(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    a: Tensor,
    b: Tensor,
    s_MR: Tensor,
    scale: float,
    need_x: bool,
    need_a: bool,
    need_b: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dy_MN = dy.reshape(-1, dy.shape[-1])
    narrow = _narrow_dtype(x)
    low_MN = dy_MN.to(narrow)
    dx, da, db = x.new_empty((0,)), a.new_empty((0,)), b.new_empty((0,))
    if need_x or need_a:
        ds_MR = (low_MN @ b.to(narrow)).mul_(scale)
        if need_a:
            da = (ds_MR.t() @ x.reshape(-1, x.shape[-1]).to(narrow)).to(a.dtype)
        if need_x:
            dx = dy_MN @ weight
            _add_product(dx, ds_MR, a.to(narrow), 1.0)
            dx = dx.view(x.shape)
    if need_b:
        db = (low_MN.t() @ s_MR).mul_(scale).to(b.dtype)
    return dx, da, db


def _backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    a: Tensor,
    b: Tensor,
    s_MR: Tensor,
    scale: float,
    need_x: bool,
    need_a: bool,
    need_b: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_x else (0,)),
        a.new_empty(a.shape if need_a else (0,)),
        b.new_empty(b.shape if need_b else (0,)),
    )


_op = define(
    "lora_linear(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, float scale) -> (Tensor, Tensor)",
    reference=_reference,
    fake=_fake,
)
_backward_op = define(
    "lora_linear_backward(Tensor dy, Tensor x, Tensor weight, Tensor a, Tensor b, Tensor s, float scale, "
    "bool need_x, bool need_a, bool need_b) -> (Tensor, Tensor, Tensor)",
    reference=_backward_reference,
    fake=_backward_fake,
)
torch.library.register_autograd("fastft::lora_linear", _backward, setup_context=_save)
