"""The gated activation of Llama's kind, one pass forward and one backward.

    h = silu(g) u        silu(g) = g s, s = 1 / (1 + e^-g)
    dg = dh u s (1 + g (1 - s))        du = dh g s

Products run in float32 (float64 for float64) and are rounded once; only g and u are kept.
Shazeer 2020, https://arxiv.org/abs/2002.05202.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastft.ops._library import define


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """`silu(gate) * up`.

    Args:
        gate: any shape and float dtype.
        up: in the shape and dtype of `gate`.

    Returns:
        Likewise. Gradients flow to both.

    Raises:
        ValueError: when shapes or dtypes differ.
    """
    if gate.shape != up.shape or gate.dtype != up.dtype or not gate.is_floating_point():
        raise ValueError(
            f"gate and up share a shape and a float dtype, not {tuple(gate.shape)} {gate.dtype} and "
            f"{tuple(up.shape)} {up.dtype}"
        )
    return _op(gate, up)  # type: ignore[no-any-return]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _reference(gate: Tensor, up: Tensor) -> Tensor:
    g = _wide(gate)
    return (g * torch.sigmoid(g) * _wide(up)).to(gate.dtype).contiguous()


def _fake(gate: Tensor, up: Tensor) -> Tensor:
    return gate.new_empty(gate.shape)


def _backward_reference(dh: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    g, d = _wide(gate), _wide(dh)
    s = torch.sigmoid(g)
    dgate = d * _wide(up) * (s * (1 + g * (1 - s)))
    return dgate.to(gate.dtype).contiguous(), (d * (g * s)).to(gate.dtype).contiguous()


def _backward_fake(dh: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    return gate.new_empty(gate.shape), gate.new_empty(gate.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
    found = _backward_op(dh, *ctx.saved_tensors)
    return tuple(d if wanted else None for d, wanted in zip(found, ctx.needs_input_grad, strict=True))


_op = define("swiglu(Tensor gate, Tensor up) -> Tensor", reference=_reference, fake=_fake)
_backward_op = define(
    "swiglu_backward(Tensor dh, Tensor gate, Tensor up) -> (Tensor, Tensor)",
    reference=_backward_reference,
    fake=_backward_fake,
)
torch.library.register_autograd("fastft::swiglu", _backward, setup_context=_save)
