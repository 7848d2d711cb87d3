"""Causal attention over documents laid end to end, without a mask: `fastft_varlen`.

The documents are given by `cu_seqlens`, which the model hands through to here. On CUDA in
half precision one call of torch's `varlen_attn` serves them all; elsewhere each document is a
causal `scaled_dot_product_attention` of its own, so the work is the sum of L^2 over documents
of L tokens and not T^2 of the whole window. Without `cu_seqlens` (generation, padded batches)
it is transformers' `sdpa` with its mask.

Shapes: B batch, H query heads, G key heads, T tokens of all documents, D head width.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "fastft_varlen"
_CUDA_DTYPES = (torch.float16, torch.bfloat16)


@dataclass
class Calls:
    """What reached the attention function while `watched` was open."""

    packed: int = 0
    windows: int = 0
    """Calls that were given a sliding window."""
    group: int | None = None
    """Size of the groups that `_s2.py` is to work with while it is watched, whatever mode the model is in."""


_watch: ContextVar[Calls | None] = ContextVar("fastft_varlen_calls", default=None)


@contextmanager
def watched(*, group: int | None = None) -> Iterator[Calls]:
    """Count the calls inside: a model may ignore `attn_implementation`, or not hand a keyword through."""
    calls = Calls(group=group)
    token = _watch.set(calls)
    try:
        yield calls
    finally:
        _watch.reset(token)


def watching() -> Calls | None:
    """What is counted now, if something is."""
    return _watch.get()


def register() -> None:
    """Make `attn_implementation="fastft_varlen"` known to transformers; repeating it is harmless."""
    AttentionInterface.register(NAME, varlen_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seqlens: Tensor | None = None,
    max_seqlen: int = 0,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention in transformers' form.

    Args:
        module: the attention layer that calls.
        query: (B, H, T, D); B is 1 with `cu_seqlens`.
        key: (B, G, T, D).
        value: (B, G, T, D).
        attention_mask: used without `cu_seqlens` only.
        scaling: multiplies the scores; None is D ** -0.5.
        dropout: of the attention weights.
        cu_seqlens: (documents + 1,), where each document begins and ends.
        max_seqlen: tokens of the longest document.
        sliding_window: how many tokens back a token sees, itself included.
        rest: what a model hands on besides.

    Returns:
        (B, T, H, D) and None.
    """
    if cu_seqlens is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask,
            scaling=scaling, dropout=dropout, sliding_window=sliding_window, **rest,
        )  # fmt: skip
    if rest.get("softcap") is not None:
        raise ValueError(f"`{NAME}` does not soft-cap scores")
    calls = watching()
    if calls is not None:
        calls.packed += 1
        calls.windows += sliding_window is not None
    if query.is_cuda and query.dtype in _CUDA_DTYPES and dropout == 0.0:
        return _one_call(query, key, value, scaling, cu_seqlens, max_seqlen, sliding_window), None
    gqa = query.shape[1] != key.shape[1]
    bounds: list[int] = cu_seqlens.tolist()
    parts = []
    for start, end in pairwise(bounds):
        length = end - start
        band = _band(length, sliding_window, query.device) if sliding_window and length > sliding_window else None
        part = F.scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            attn_mask=band,
            is_causal=band is None,
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=gqa,
        )
        parts.append(part.transpose(1, 2))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), None


def _one_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    cu_seqlens: Tensor,
    max_seqlen: int,
    sliding_window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q_THD, k_TGD, v_TGD = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    left = sliding_window - 1 if sliding_window else -1
    out = varlen_attn(
        q_THD, k_TGD, v_TGD, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen,
        scale=scaling, window_size=(left, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    assert isinstance(out, Tensor)
    return out.unsqueeze(0)


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """(L, L) bool: what each token of one document sees through a sliding window."""
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None]
    return (back >= 0) & (back < window)
