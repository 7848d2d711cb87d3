"""A frozen linear layer and a low-rank term beside it, forward and for x; the weight dense or in NF4.

    y  = x W^T + b + s S B^T
    dx = sum over a group of  dy_i W_i + dS_i A_i

The kernel decodes NF4 strip by strip while it multiplies and adds the low-rank term in the same tiles: no
dequantized copy of a weight is held, and no pass over y is made for the adapter. Elsewhere the weight is
dequantized for the product, and the term is added in place.

Shapes: x (M, K), W (N, K), S and dS (M, R), A (R, K), B (N, R), dy (M, N).
A group's weights are given flat: one tensor each, or the parts of `NF4Weight` each (`parts_of`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastft.ops._library import define
from fastft.ops.lora_passes import has_kernel
from fastft.ops.nf4 import NF4Weight, dequantize_parts


def parts_of(weights: Sequence[Tensor | NF4Weight]) -> tuple[list[Tensor], int]:
    """Weights as ops take them: their tensors, and the blocksize (0 for dense ones).

    Raises:
        ValueError: when they are not all held alike.
    """
    parts: list[list[Tensor]] = []
    kinds = set()
    for weight in weights:
        if isinstance(weight, NF4Weight):
            held = (weight.packed, weight.absmax, weight.nested, weight.offset)
            parts.append([tensor for tensor in held if tensor is not None])
            kinds.add((len(parts[-1]), weight.blocksize))
        else:
            parts.append([weight])
            kinds.add((1, 0))
    if len(kinds) != 1:
        raise ValueError("the weights of a group are held alike: all dense, or all in NF4 with one blocksize")
    return [tensor for part in parts for tensor in part], kinds.pop()[1]


def _split(base: list[Tensor], count: int) -> list[list[Tensor]]:
    each = len(base) // count
    return [base[i * each : (i + 1) * each] for i in range(count)]


def dense(part: list[Tensor], blocksize: int, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """The weight (rows, columns) of one layer, dequantized where it is packed."""
    if len(part) == 1:
        return part[0]
    wide = dtype if dtype != torch.float64 else torch.float32
    nested, offset = (part[2], part[3]) if len(part) == 4 else (None, None)
    flat = dequantize_parts(part[0], part[1], nested, offset, rows * columns, blocksize, wide)
    return flat.view(rows, columns).to(dtype)


def add_product(into: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """`into += scale * left right`, in one pass where the dtypes allow."""
    if into.dtype == left.dtype:
        into.addmm_(left, right.to(left.dtype), alpha=scale)
    else:
        into.add_(left @ right.to(left.dtype), alpha=scale)


def _reference(
    x: Tensor, base: list[Tensor], blocksize: int, bias: Tensor | None, s: Tensor, b: Tensor, scale: float
) -> Tensor:
    weight = dense(base, blocksize, b.shape[0], x.shape[1], x.dtype)
    y_MN = x @ weight.t() if bias is None else torch.addmm(bias.to(x.dtype), x, weight.t())
    add_product(y_MN, s, b.t(), scale)
    return y_MN


def _fake(
    x: Tensor, base: list[Tensor], blocksize: int, bias: Tensor | None, s: Tensor, b: Tensor, scale: float
) -> Tensor:
    return x.new_empty((x.shape[0], b.shape[0]))


def _bwd_reference(dy: list[Tensor], base: list[Tensor], blocksize: int, ds: list[Tensor], a: list[Tensor]) -> Tensor:
    dx: Tensor | None = None
    for dy_MN, part, ds_MR, a_RK in zip(dy, _split(base, len(dy)), ds, a, strict=True):
        weight = dense(part, blocksize, dy_MN.shape[1], a_RK.shape[1], dy_MN.dtype)
        dx = dy_MN @ weight if dx is None else dx.addmm_(dy_MN, weight)
        add_product(dx, ds_MR, a_RK, 1.0)
    assert dx is not None
    return dx


def _bwd_fake(dy: list[Tensor], base: list[Tensor], blocksize: int, ds: list[Tensor], a: list[Tensor]) -> Tensor:
    return dy[0].new_empty((dy[0].shape[0], a[0].shape[1]))


_op = define(
    "frozen_linear(Tensor x, Tensor[] base, int blocksize, Tensor? bias, Tensor s, Tensor b, float scale) -> Tensor",
    reference=_reference,
    fake=_fake,
)
_bwd_op = define(
    "frozen_linear_bwd(Tensor[] dy, Tensor[] base, int blocksize, Tensor[] ds, Tensor[] a) -> Tensor",
    reference=_bwd_reference,
    fake=_bwd_fake,
)


def frozen_linear(
    x: Tensor, base: list[Tensor], blocksize: int, bias: Tensor | None, s: Tensor, b: Tensor, scale: float
) -> Tensor:
    """`x W^T + bias + scale S B^T`, (M, N), in the dtype of `x`.

    Args:
        x: (M, K), any float dtype.
        base: the tensors of one weight, as `parts_of` gives them.
        blocksize: of NF4; 0 for a dense weight.
        bias: (N,) or None.
        s: (M, R), what `lora_down` gave.
        b: (N, R), any float dtype.
        scale: of the low-rank term.
    """
    if not has_kernel(x):
        return _reference(x, base, blocksize, bias, s, b, scale)
    result: Tensor = _op(x, base, blocksize, None if bias is None else bias.float().contiguous(), s, b, scale)
    return result


def frozen_linear_bwd(
    dy: list[Tensor], base: list[Tensor], blocksize: int, ds: list[Tensor], a: list[Tensor]
) -> Tensor:
    """The sum over a group of `dy W + dS A`, (M, K), in the dtype of `dy`.

    Args:
        dy: (M, N) each, one float dtype.
        base: the tensors of all weights, as `parts_of` gives them.
        blocksize: of NF4; 0 for dense weights.
        ds: (M, R) each, what `lora_bwd_dy` gave.
        a: (R, K) each, any float dtype.
    """
    result: Tensor = (_bwd_op if has_kernel(dy[0]) else _bwd_reference)(dy, base, blocksize, ds, a)
    return result
