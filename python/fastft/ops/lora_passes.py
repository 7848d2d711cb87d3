"""The passes of LoRA over activations: each reads a large matrix once and makes a narrow one.

    lora_down:    S = x A^T
    lora_bwd_dy:  dS = s dy B,    dB = s dy^T S
    lora_bwd_x:   dA = dS^T x

Several adapters that share x pass together: A holds the rows of all, S and dS their columns side by side.
Sums are float32 (float64 for float64 input) and run in a fixed order where a kernel of ours serves.

Shapes: x (M, K), dy (M, N), A (R, K), B (N, R), S and dS (M, R).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastft.ops._library import define
from fastft.ops._load import LIBRARIES


def narrow_dtype(x: Tensor) -> torch.dtype:
    """The dtype of S and dS: a CPU has no fast 16-bit products of such shapes."""
    return torch.float32 if x.device.type == "cpu" and x.dtype.itemsize == 2 else x.dtype


def has_kernel(x: Tensor) -> bool:
    """Whether the compiled CPU kernels take products with `x`; otherwise the definitions here serve."""
    return LIBRARIES["cpu"].loaded and x.device.type == "cpu" and x.dtype != torch.float64


def _down_reference(x: Tensor, a: Tensor) -> Tensor:
    narrow = narrow_dtype(x)
    return x.to(narrow) @ a.to(narrow).t()


def _down_fake(x: Tensor, a: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], a.shape[0]), dtype=narrow_dtype(x))


def _bwd_dy_reference(dy: Tensor, b: Tensor, s: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    narrow = narrow_dtype(dy)
    low_MN = dy.to(narrow)
    return (low_MN @ b.to(narrow)).mul_(scale), (low_MN.t() @ s.to(narrow)).mul_(scale)


def _bwd_dy_fake(dy: Tensor, b: Tensor, s: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    narrow = narrow_dtype(dy)
    return dy.new_empty((dy.shape[0], b.shape[1]), dtype=narrow), dy.new_empty(b.shape, dtype=narrow)


def _bwd_x_reference(x: Tensor, ds: Tensor) -> Tensor:
    narrow = narrow_dtype(x)
    return ds.to(narrow).t() @ x.to(narrow)


def _bwd_x_fake(x: Tensor, ds: Tensor) -> Tensor:
    return x.new_empty((ds.shape[1], x.shape[1]), dtype=narrow_dtype(x))


_down = define("lora_down(Tensor x, Tensor a) -> Tensor", reference=_down_reference, fake=_down_fake)
_bwd_dy = define(
    "lora_bwd_dy(Tensor dy, Tensor b, Tensor s, float scale) -> (Tensor, Tensor)",
    reference=_bwd_dy_reference,
    fake=_bwd_dy_fake,
)
_bwd_x = define("lora_bwd_x(Tensor x, Tensor ds) -> Tensor", reference=_bwd_x_reference, fake=_bwd_x_fake)


def lora_down(x: Tensor, a: Tensor) -> Tensor:
    """`x A^T`, (M, R).

    Args:
        x: (M, K), any float dtype.
        a: (R, K), any float dtype.
    """
    result: Tensor = _down(x, a) if has_kernel(x) else _down_reference(x, a)
    return result


def lora_bwd_dy(dy: Tensor, b: Tensor, s: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """`(s dy B, s dy^T S)`, (M, R) and (N, R).

    Args:
        dy: (M, N), any float dtype.
        b: (N, R), any float dtype.
        s: (M, R), what `lora_down` gave.
        scale: of the update.
    """
    both: tuple[Tensor, Tensor] = (_bwd_dy if has_kernel(dy) else _bwd_dy_reference)(dy, b, s, scale)
    return both


def lora_bwd_x(x: Tensor, ds: Tensor) -> Tensor:
    """`dS^T x`, (R, K).

    Args:
        x: (M, K), any float dtype.
        ds: (M, R), what `lora_bwd_dy` gave.
    """
    result: Tensor = _bwd_x(x, ds) if has_kernel(x) else _bwd_x_reference(x, ds)
    return result
