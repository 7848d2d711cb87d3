"""Shifted group attention while training, full attention otherwise: `fastft_s2_<group>`.

A model in training mode attends within groups of tokens, half of its heads shifted by half a
group (`ops/s2_attention.py`); in evaluation and generation it is `_varlen.py`, causal attention
over whole documents. The size of the groups stands in the name that transformers knows, so it is
set with the implementation and nothing else has to be handed through the model.

Shapes: B batch, H query heads, G key heads, T tokens of all documents, D head width.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from fastft.models import _varlen
from fastft.ops import s2_attention

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "fastft_s2_"


def register(group: int) -> str:
    """Make S2 with groups of so many tokens known to transformers; returns its `attn_implementation`."""
    name = f"{PREFIX}{group}"
    AttentionInterface.register(name, partial(shifted_attention, group=group))
    AttentionMaskInterface.register(name, sdpa_mask)
    return name


def shifted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    group: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seqlens: Tensor | None = None,
    max_seqlen: int = 0,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention in transformers' form.

    Args:
        module: the attention layer that calls; whether it is in training mode decides.
        query: (B, H, T, D); B is 1 while training.
        key: (B, G, T, D).
        value: (B, G, T, D).
        attention_mask: used without `cu_seqlens` only.
        group: tokens of a group; even.
        scaling: multiplies the scores; None is D ** -0.5.
        dropout: of the attention weights; none while training.
        cu_seqlens: (documents + 1,), where each document begins and ends.
        max_seqlen: tokens of the longest document.
        sliding_window: none while training.
        rest: what a model hands on besides.

    Returns:
        (B, T, H, D) and None.

    Raises:
        ValueError: while training, without `cu_seqlens`, or for what S2 does not know.
    """
    calls = _varlen.watching()
    if calls is not None and calls.group is not None:
        group = calls.group
    elif not module.training:
        return _varlen.varlen_attention(
            module, query, key, value, attention_mask,
            scaling=scaling, dropout=dropout, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen,
            sliding_window=sliding_window, **rest,
        )  # fmt: skip
    if cu_seqlens is None:
        raise ValueError("S2 attention trains on documents laid end to end, given by `cu_seqlens`")
    for what, given in (("softcap", rest.get("softcap")), ("window", sliding_window), ("dropout", dropout)):
        if given:
            raise ValueError(f"S2 attention has no {what}, and {given} is asked for")
    if calls is not None:
        calls.packed += 1
    q_THD, k_TGD, v_TGD = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    return s2_attention(q_THD, k_TGD, v_TGD, group=group, cu_seqlens=cu_seqlens, scale=scaling).unsqueeze(0), None
