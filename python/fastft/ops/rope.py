"""Rotary positions in the layout of transformers: the two halves of a head turn against each other.

    y_low = x_low c - x_high s        y_high = x_high c' + x_low s'

where c, s are the first and c', s' the second half of the angles' cosines and sines. The gradient goes
through the transpose. Nothing but the angles is kept. Su et al. 2021, https://arxiv.org/abs/2104.09864.

Shapes: B batch, H heads, T tokens, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastft.ops._library import define


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Turn queries and keys by the angles of their positions.

    Args:
        q: (B, H, T, D), any float dtype; D is even.
        k: (B, Hkv, T, D), likewise.
        cos: (B or 1, T, D), in the dtype of `q`; no gradient flows to it.
        sin: likewise.

    Returns:
        As `q` and `k`; in memory heads lie beside one another, as projections write them: (B, T, H, D).

    Raises:
        ValueError: when shapes or dtypes do not fit together.
    """
    for x in (q, k):
        fits = x.dim() == 4 and x.shape[3] % 2 == 0 and cos.shape in ((x.shape[0], *x.shape[2:]), (1, *x.shape[2:]))
        if not fits or cos.shape != sin.shape or not x.dtype == cos.dtype == sin.dtype or not x.is_floating_point():
            raise ValueError(
                f"q and k are (B, heads, T, D) with an even D, cos and sin (B or 1, T, D) in their dtype, not "
                f"{tuple(x.shape)} {x.dtype}, {tuple(cos.shape)} {cos.dtype} and {tuple(sin.shape)} {sin.dtype}"
            )
    return _op(q, cos, sin, False), _op(k, cos, sin, False)


def _reference(x: Tensor, cos: Tensor, sin: Tensor, inverse: bool) -> Tensor:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    half = x.shape[3] // 2
    low, high = x[..., :half].to(wide), x[..., half:].to(wide)
    c, s = cos.to(wide)[:, None], sin.to(wide)[:, None]
    if inverse:
        turned = (low * c[..., :half] + high * s[..., half:], high * c[..., half:] - low * s[..., :half])
    else:
        turned = (low * c[..., :half] - high * s[..., :half], high * c[..., half:] + low * s[..., half:])
    out = torch.cat(turned, dim=3).to(x.dtype)
    return out.transpose(1, 2).contiguous().transpose(1, 2)


def _fake(x: Tensor, cos: Tensor, sin: Tensor, inverse: bool) -> Tensor:
    batch, heads, tokens, width = x.shape
    return x.new_empty((batch, tokens, heads, width)).transpose(1, 2)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, cos, sin, inverse = inputs
    ctx.save_for_backward(cos, sin)
    ctx.inverse = inverse


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _op(dy, *ctx.saved_tensors, not ctx.inverse), None, None, None


_op = define("rope(Tensor x, Tensor cos, Tensor sin, bool inverse) -> Tensor", reference=_reference, fake=_fake)
torch.library.register_autograd("fastft::rope", _backward, setup_context=_save)
