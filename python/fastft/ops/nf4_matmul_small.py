"""A few rows times a weight in NF4, without dequantizing the weight: what generation does a token at a time.

    y = x W^T + b

Forward only. Each row of W is decoded once, in a buffer of its length, for all rows of x. The kernel wins where
reading and writing a whole dequantized weight would outweigh the products; `LIMIT` is where it stops to.

Shapes: x (M, K), W (N, K).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastft.ops._library import define
from fastft.ops.frozen_linear import dense, parts_of
from fastft.ops.lora_passes import has_kernel
from fastft.ops.nf4 import NF4Weight

LIMIT = 8
"""The most rows that are served by the kernel; more take a dequantized weight."""


def nf4_matmul_small(x: Tensor, q: NF4Weight, *, bias: Tensor | None = None) -> Tensor:
    """Multiply a few rows by a frozen weight in NF4.

    Args:
        x: (..., K), any float dtype; no gradient flows to it.
        q: of shape (N, K).
        bias: (N,).

    Returns:
        (..., N), in the dtype of `x`.

    Raises:
        ValueError: when the shapes do not fit together, or `x` wants a gradient.
    """
    if tuple(q.shape[1:]) != tuple(x.shape[-1:]) or (bias is not None and bias.shape != q.shape[:1]):
        raise ValueError(f"x (..., K) and w (N, K) do not fit together: {tuple(x.shape)}, {q.shape}")
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("nf4_matmul_small has no backward pass: use `qlora_linear`, or torch.no_grad()")
    base, blocksize = parts_of([q])
    x_MK = x.reshape(-1, x.shape[-1])
    served = has_kernel(x) and x_MK.shape[0] <= LIMIT
    bias = bias if bias is None or not served else bias.float().contiguous()
    y_MN: Tensor = (_op if served else _reference)(x_MK, base, blocksize, q.shape[0], bias)
    return y_MN.view(*x.shape[:-1], q.shape[0])


def _reference(x: Tensor, base: list[Tensor], blocksize: int, out_features: int, bias: Tensor | None) -> Tensor:
    weight = dense(base, blocksize, out_features, x.shape[1], x.dtype)
    return torch.nn.functional.linear(x, weight, None if bias is None else bias.to(x.dtype))


def _fake(x: Tensor, base: list[Tensor], blocksize: int, out_features: int, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], out_features))


_op = define(
    "nf4_matmul_small(Tensor x, Tensor[] base, int blocksize, int out_features, Tensor? bias) -> Tensor",
    reference=_reference,
    fake=_fake,
)
