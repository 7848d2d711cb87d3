"""The norms of DoRA's rows, without making the adapted weight.

    n_i^2 = |w_i|^2 + 2 s b_i . (A w_i) + s^2 b_i (A A^T) b_i

|w_i|^2 is constant (`row_squares`); A W^T is one narrow product over the weight as it is held, NF4 decoded on
the way; A A^T is r x r. Liu et al. 2024, https://arxiv.org/abs/2402.09353, where the norm takes no gradient
(section 4.3). Sums of r and of three terms are float64: they cancel where the update undoes the weight.

Shapes: W (N, K), A (r, K), B (N, r), the norms (N,).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastft.ops.frozen_linear import dense, frozen_linear, parts_of
from fastft.ops.lora_passes import has_kernel
from fastft.ops.nf4 import NF4Weight


def row_squares(w: Tensor | NF4Weight) -> Tensor:
    """The squared norm of each row of a weight (N, K): (N,) float64."""
    base, blocksize = parts_of([w])
    rows = w.shape[0]
    whole = dense(base, blocksize, rows, w.shape[1], torch.float32)
    out = torch.empty(rows, dtype=torch.float64, device=whole.device)
    for at in range(0, rows, 256):  # a float64 copy of 256 rows, not of all
        wide = whole[at : at + 256].double()
        out[at : at + 256] = torch.linalg.vecdot(wide, wide)
    return out


@torch.no_grad()
def dora_norm(w: Tensor | NF4Weight, a: Tensor, b: Tensor, scale: float, squares: Tensor) -> Tensor:
    """The norm of each row of `W + scale B A`; no gradient.

    Args:
        w: (N, K), dense or in NF4.
        a: (r, K), any float dtype.
        b: (N, r), likewise.
        scale: of the update.
        squares: what `row_squares(w)` gave.

    Returns:
        (N,), float32 (float64 for a float64 weight).

    Raises:
        ValueError: when the shapes do not fit together.
    """
    if tuple(w.shape) != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1] or squares.shape != b.shape[:1]:
        raise ValueError(
            f"w (N, K), a (r, K), b (N, r) and squares (N,) do not fit together: "
            f"{tuple(w.shape)}, {tuple(a.shape)}, {tuple(b.shape)}, {tuple(squares.shape)}"
        )
    dense_w = None if isinstance(w, NF4Weight) else w
    result = torch.float64 if dense_w is not None and w.dtype == torch.float64 else torch.float32
    narrow_a = a.to(result)
    if dense_w is None or has_kernel(dense_w):  # both read any type into float32
        nothing = narrow_a.new_zeros((a.shape[0], 0)), narrow_a.new_zeros((b.shape[0], 0))
        aw_rN = frozen_linear(narrow_a, *parts_of([w]), None, *nothing, 0.0)
    else:
        aw_rN = torch.cat([narrow_a @ rows.to(result).t() for rows in torch.split(dense_w, 1024)], dim=1)
    b_Nr, a_rK = b.double(), a.double()
    cross = torch.linalg.vecdot(b_Nr, aw_rN.double().t())
    inner = torch.linalg.vecdot(b_Nr @ (a_rK @ a_rK.t()), b_Nr)
    norms: Tensor = (squares + 2 * scale * cross + scale * scale * inner).clamp_min(0).sqrt().to(result)
    return norms
