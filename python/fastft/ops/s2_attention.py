"""Shifted group attention: causal attention within groups of tokens, shifted by half a group for half the heads.

    plain heads    h <  H // 2     a document's blocks begin at 0, g, 2g, 3g, ...
    shifted heads  h >= H // 2     a document's blocks begin at 0, g/2, 3g/2, 5g/2, ...
    o_i = sum over j of softmax_j(scale q_i k_j) v_j,    j <= i in the block of i

So a layer costs T g instead of T^2, and what one half of the heads can't see across the border of a group
the other half can. It is S2-Attn of Chen et al. 2023, https://arxiv.org/abs/2309.12307, with three repairs: the
first half group and the last piece of the shifted heads are blocks of their own instead of one that wraps
around, so nothing later is seen; groups are counted from the beginning of each document, so a document in a
packed row gives what it gives alone; and any length will do. A document of at most g tokens is one block
for all heads: full attention. Tokens keep their positions, so rotary embeddings are the model's own.

    D = rowsum(dO O)    P = exp(scale Q K^T - lse)    dV = P^T dO    dS = P (dO V^T - D)
    dQ = scale dS K     dK = scale dS^T Q

The backward pass keeps q, k, v, o and lse. On CUDA in half precision each half is one call of torch's
`varlen_attn` on views of its heads (two where a key head serves both halves); on a CPU a kernel of ours serves
(csrc/cpu/s2_tile.h), whose result does not depend on the number of threads.

Shapes: T tokens of all documents, H query heads, G key heads, D head width, g tokens of a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastft.ops._library import define

_VARLEN_DTYPES = (torch.float16, torch.bfloat16)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def s2_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    group: int,
    cu_seqlens: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attend within shifted groups; see the module.

    Rows of a batch are documents: lay them end to end and say so with `cu_seqlens`.

    Args:
        q: (T, H, D), float32, bfloat16, float16 or float64; any strides.
        k: (T, G, D), in the dtype of `q`; query head h uses key head `h * G // H`.
        v: (T, G, D), likewise.
        group: tokens of a group, g; even.
        cu_seqlens: (documents + 1,) int32 or int64, where each document begins and ends: 0, ..., T. Absent, all is one.
        scale: multiplies the scores; None is D ** -0.5.

    Returns:
        (T, H, D), in the dtype of `q`. Gradients flow to `q`, `k` and `v`.

    Raises:
        ValueError: when shapes or dtypes do not fit together, or the group is not an even number of tokens.
        RuntimeError: when `cu_seqlens` do not rise from 0 to T; not looked at on CUDA.
    """
    _check(q, k, v, group, cu_seqlens)
    if cu_seqlens is not None:
        cu_seqlens = cu_seqlens.to(device=q.device, dtype=torch.int32)
    scale = q.shape[2] ** -0.5 if scale is None else scale
    if q.is_cuda and q.dtype in _VARLEN_DTYPES:
        return _varlen(q, k, v, group, cu_seqlens, scale)
    out: Tensor = _op(q, k, v, cu_seqlens, group, scale)[0]
    return out


def s2_blocks(bounds: list[int], group: int, *, shifted: bool) -> list[int]:
    """Where blocks begin, and at last where the last one ends.

    Args:
        bounds: where each document begins and ends, as `cu_seqlens`.
        group: tokens of a group; even.
        shifted: of the shifted heads, else of the plain ones.
    """
    starts: list[int] = []
    for start, stop in pairwise(bounds):
        first = group // 2 if shifted and stop - start > group else group
        starts += [start, *range(start + first, stop, group)] if stop > start else []
    return [*starts, bounds[-1]]


class _Heads(NamedTuple):
    """Query heads that share their blocks, and the key heads that serve them alike."""

    shifted: bool
    q: slice
    k: slice


def _halves(heads: int, kv_heads: int) -> list[_Heads]:
    """The plain and the shifted heads, each cut where the number of query heads a key head has changes."""
    share, half = heads // kv_heads, heads // 2
    middle = half // share * share  # where the key head that serves both halves begins, if there is one
    cuts = sorted({0, middle, half, min(heads, middle + share) if middle != half else half, heads})
    return [
        _Heads(start >= half, slice(start, stop), slice(start // share, (stop - 1) // share + 1))
        for start, stop in pairwise(cuts)
    ]


def _varlen(q: Tensor, k: Tensor, v: Tensor, group: int, cu_seqlens: Tensor | None, scale: float) -> Tensor:
    """Both halves by torch's `varlen_attn`, without a copy of q, k or v."""
    from torch.nn.attention.varlen import varlen_attn

    bounds = [0, q.shape[0]] if cu_seqlens is None else cu_seqlens.tolist()
    blocks, longest = {}, {}
    for shifted in (False, True):
        starts = s2_blocks(bounds, group, shifted=shifted)
        blocks[shifted] = torch.tensor(starts, dtype=torch.int32, device=q.device)
        longest[shifted] = max((stop - start for start, stop in pairwise(starts)), default=0)
    parts = []
    for heads in _halves(q.shape[1], k.shape[1]):
        at, most = blocks[heads.shifted], longest[heads.shifted]
        out = varlen_attn(
            q[:, heads.q], k[:, heads.k], v[:, heads.k], at, at, most, most,
            scale=scale, window_size=(-1, 0), enable_gqa=True,
        )  # fmt: skip
        assert isinstance(out, Tensor)
        parts.append(out)
    return torch.cat(parts, dim=1)


def _pieces(q: Tensor, k: Tensor, cu_seqlens: Tensor | None, group: int) -> Iterator[tuple[slice, slice, slice, int]]:
    """Tokens of a block, its query heads, their key heads, and how many query heads share one."""
    bounds = [0, q.shape[0]] if cu_seqlens is None else cu_seqlens.tolist()
    if not bounds or bounds[0] != 0 or bounds[-1] != q.shape[0] or any(b < a for a, b in pairwise(bounds)):
        raise RuntimeError("s2_attention: cu_seqlens rise from 0 to the number of tokens")
    for heads in _halves(q.shape[1], k.shape[1]):
        share = (heads.q.stop - heads.q.start) // (heads.k.stop - heads.k.start)
        for start, stop in pairwise(s2_blocks(bounds, group, shifted=heads.shifted)):
            yield slice(start, stop), heads.q, heads.k, share


def _by_head(x: Tensor, share: int = 1) -> Tensor:
    """(T, heads, D) as (heads, T, D) in the dtype that is computed in, each head `share` times."""
    wide = x.to(_accumulator(x)).transpose(0, 1)
    return wide.repeat_interleave(share, dim=0) if share > 1 else wide


def _scores(q_HLD: Tensor, k_HLD: Tensor, scale: float) -> Tensor:
    """(H, L, L), -inf where the key is after the query."""
    later = torch.ones(q_HLD.shape[1], q_HLD.shape[1], dtype=torch.bool, device=q_HLD.device).triu_(1)
    return (q_HLD @ k_HLD.transpose(1, 2)).mul_(scale).masked_fill_(later, -torch.inf)


def _reference(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor | None, group: int, scale: float
) -> tuple[Tensor, Tensor]:
    out, lse = _fake(q, k, v, cu_seqlens, group, scale)
    for at, heads, kv_heads, share in _pieces(q, k, cu_seqlens, group):
        s_HLL = _scores(_by_head(q[at, heads]), _by_head(k[at, kv_heads], share), scale)
        lse[heads, at] = s_HLL.logsumexp(dim=2)
        o_HLD = s_HLL.softmax(dim=2) @ _by_head(v[at, kv_heads], share)
        out[at, heads] = o_HLD.transpose(0, 1).to(q.dtype)
    return out, lse


def _fake(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor | None, group: int, scale: float
) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty((q.shape[1], q.shape[0]), dtype=_accumulator(q))


def _backward_reference(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens: Tensor | None,
    group: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = _accumulator(q)
    dq, dk, dv = q.new_empty(q.shape), k.new_zeros(k.shape, dtype=wide), v.new_zeros(v.shape, dtype=wide)
    for at, heads, kv_heads, share in _pieces(q, k, cu_seqlens, group):
        q_HLD, k_HLD = _by_head(q[at, heads]), _by_head(k[at, kv_heads], share)
        do_HLD, v_HLD = _by_head(dout[at, heads]), _by_head(v[at, kv_heads], share)
        p_HLL = _scores(q_HLD, k_HLD, scale).sub_(lse[heads, at, None]).exp_()
        mean_HL1 = (do_HLD * _by_head(out[at, heads])).sum(dim=2, keepdim=True)
        ds_HLL = (do_HLD @ v_HLD.transpose(1, 2)).sub_(mean_HL1).mul_(p_HLL).mul_(scale)
        dq[at, heads] = (ds_HLL @ k_HLD).transpose(0, 1).to(q.dtype)
        for into, product in ((dk, ds_HLL.transpose(1, 2) @ q_HLD), (dv, p_HLL.transpose(1, 2) @ do_HLD)):
            into[at, kv_heads] += product.view(-1, share, *product.shape[1:]).sum(dim=1).transpose(0, 1)
    return dq, dk.to(k.dtype), dv.to(v.dtype)


def _backward_fake(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens: Tensor | None,
    group: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, cu_seqlens, group, scale = inputs
    ctx.save_for_backward(q, k, v, *output, cu_seqlens)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.group, ctx.scale = group, scale


def _backward(ctx: Any, dout: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dout is None:
        return (None,) * 6
    dq, dk, dv = _backward_op(dout, *ctx.saved_tensors, ctx.group, ctx.scale)
    return dq, dk, dv, None, None, None


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check(q: Tensor, k: Tensor, v: Tensor, group: int, cu_seqlens: Tensor | None) -> None:
    if q.dim() != 3 or k.dim() != 3 or k.shape != v.shape or (q.shape[0], q.shape[2]) != (k.shape[0], k.shape[2]):
        raise ValueError(
            f"q is (T, H, D), k and v are (T, G, D), not {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    if not q.shape[1] or not q.shape[2] or not k.shape[1] or q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} query heads of width {q.shape[2]} can't share {k.shape[1]} key heads evenly")
    if q.dtype not in _DTYPES or not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q, k and v share a float dtype, not {q.dtype}, {k.dtype} and {v.dtype}")
    if group < 2 or group % 2:
        raise ValueError(f"a group is an even number of tokens, not {group}")
    if cu_seqlens is not None and (cu_seqlens.dim() != 1 or cu_seqlens.dtype not in (torch.int32, torch.int64)):
        raise ValueError(f"cu_seqlens are (documents + 1,) integers, not {tuple(cu_seqlens.shape)} {cu_seqlens.dtype}")


_op = define(
    "s2_attention(Tensor q, Tensor k, Tensor v, Tensor? cu_seqlens, int group, float scale) -> (Tensor, Tensor)",
    reference=_reference,
    fake=_fake,
)
_backward_op = define(
    "s2_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, Tensor? cu_seqlens, "
    "int group, float scale) -> (Tensor, Tensor, Tensor)",
    reference=_backward_reference,
    fake=_backward_fake,
)
torch.library.register_autograd("fastft::s2_attention", _backward, setup_context=_save)
