"""Which attention a model runs with, and the proof that packed documents do not see one another.

Packing puts documents end to end in one row. If attention reached across their borders a run
would still converge, to something else, and nothing would tell. So a model is asked, with two
short documents, whether each packed alone and together gives the same hidden states; an
implementation that leaks is not used, and without one that does not, packing is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.core.errors import ModelError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

IMPLEMENTATIONS = {"varlen": "fastft_varlen", "sdpa": "sdpa", "eager": "eager", "flex": "flex_attention"}
"""The config's names and transformers' names."""

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
_OURS = "fastft_"
"""How the implementations begin that take `cu_seqlens`."""
_PROOF_GROUP = 4
"""Size of S2's groups in the proof: its documents are of several groups."""


def embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The input embeddings of a model."""
    from torch import nn

    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


def body(model: PreTrainedModel) -> nn.Module:
    """What gives the hidden states: the model without its output head."""
    from transformers import PreTrainedModel

    decoder: nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]
    if decoder is not model:
        return decoder
    return next((child for child in model.children() if isinstance(child, PreTrainedModel)), model)


def packed_inputs(model: PreTrainedModel, position_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> dict[str, Any]:
    """The keywords with which `model` keeps the documents of a packed row apart.

    Args:
        model: a transformers model, not wrapped by an adapter.
        position_ids: (1, T), restarting at 0 with each document.
        cu_seqlens: (documents + 1,) int32.
        max_seqlen: tokens of the longest document.
    """
    given: dict[str, Any] = {"position_ids": position_ids, "use_cache": False}
    if _takes_bounds(model):
        # A mask that is 4-D already is handed through as it is: none of (T, T) is built.
        mask = position_ids.new_zeros((1, 1, 1, 1), dtype=model.dtype)
        given |= {"attention_mask": mask, "cu_seqlens": cu_seqlens, "max_seqlen": max_seqlen}
    return given


def choose(model: PreTrainedModel, wanted: str, *, packed: bool, s2_group: int | None = None) -> str:
    """Set the attention implementation of a loaded model.

    Args:
        model: on its device, in its dtype; it is left in the mode it was in.
        wanted: the config's `model.attention`.
        packed: whether rows of several documents will be given.
        s2_group: tokens of a group of S2 attention; even.

    Returns:
        The config's name of what was set: `varlen`, `sdpa`, `eager`, `flex` or `s2`.

    Raises:
        UnsupportedError: when the model does not have the implementation that is asked for, or
            when `packed` and none keeps documents apart.
    """
    from fastft.models import _varlen

    _varlen.register()
    if wanted == "s2":
        return _choose_s2(model, s2_group)
    if wanted == "flex" and model.device.type != "cuda":
        raise UnsupportedError(
            "`flex` attention has a backward pass on CUDA only", hint='use `attention = "auto"`', code="model.attention"
        )
    tried = []
    for name in _candidates(model, wanted):
        if not _set(model, IMPLEMENTATIONS[name]):
            tried.append(f"`{name}`: not supported by {type(model).__name__}")
            continue
        if not packed:
            return name
        reason = leak(model)
        if reason is None:
            return name
        tried.append(f"`{name}`: {reason}")
    if packed:
        raise UnsupportedError(
            f"{type(model).__name__} does not keep packed documents apart ({'; '.join(tried)})",
            hint='set `data.packing = "none"` and `batch.micro = 1`: one row in each forward pass',
            code="model.packing-leaks",
        )
    raise UnsupportedError("; ".join(tried), hint='use `attention = "auto"`', code="model.attention")


def _choose_s2(model: PreTrainedModel, group: int | None) -> str:
    from fastft.models import _s2

    assert group is not None
    config = model.config.get_text_config()
    reason = None
    if getattr(config, "attn_logit_softcapping", None):
        reason = "it soft-caps its scores"
    elif _slides(config):
        reason = "it has layers with a sliding window"
    elif set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS:
        reason = "it has layers that are not causal attention over all tokens"
    elif dropped := next((name for name in _DROPOUTS if getattr(config, name, 0.0)), None):
        reason = f"its config drops attention weights (`{dropped}`)"
    elif not _set(model, _s2.register(group)):
        reason = "its attention can't be chosen"
    else:
        reason = leak(model)
    if reason is not None:
        raise UnsupportedError(
            f"{type(model).__name__} can't train with S2 attention: {reason}",
            hint='use `attention = "auto"`',
            code="model.attention",
        )
    return "s2"


def leak(model: PreTrainedModel) -> str | None:
    """Why packed documents are not apart under the implementation that is set; None when they are.

    Two documents of 11 and 7 random tokens; the second's hidden states must be those it has
    alone, up to rounding, and must not move when the first one changes.
    """
    import torch

    from fastft.models import _varlen

    generator = torch.Generator().manual_seed(0)
    vocabulary = embeddings(model).num_embeddings
    first, other, second = (
        torch.randint(0, vocabulary, (1, length), generator=generator).to(model.device) for length in (11, 11, 7)
    )
    training = model.training
    model.train(False)
    try:
        with torch.no_grad(), _varlen.watched(group=_PROOF_GROUP) as calls:
            alone = _hidden(model, [second])
            together = _hidden(model, [first, second])[:, 11:]
            changed = _hidden(model, [other, second])[:, 11:]
            again = _hidden(model, [first, second])[:, :11]
            first_alone = _hidden(model, [first])
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        return f"it can't be called with packed documents ({str(error).splitlines()[0]})"
    finally:
        model.train(training)
    if not bool(alone.isfinite().all()):
        raise ModelError(
            "the model's hidden states are not finite numbers: a weight is nan or infinite, or the dtype is too narrow",
            hint='look at the checkpoint, or set `model.dtype = "float32"`',
            code="model.not-finite",
        )
    config = model.config.get_text_config()
    if _takes_bounds(model):
        if calls.packed == 0:
            return "its layers do not call the attention that is set"
        if _slides(config) and calls.windows == 0:
            return "its layers do not say how wide their sliding window is"
    size = float(alone.abs().max())
    allowed = 1e-4 if alone.dtype == torch.float32 else 5e-2
    moved = float((together - changed).abs().max()) / size
    apart = max(float((together - alone).abs().max()), float((again - first_alone).abs().max())) / size
    if not (moved <= allowed / 10 if alone.dtype == torch.float32 else moved == 0.0) and moved > 1e-6:
        return f"a document changes its neighbour's hidden states by {moved:.1e} of their size"
    if not apart <= allowed:
        return f"hidden states differ from those of the document alone by {apart:.1e} of their size"
    return None


def _hidden(model: PreTrainedModel, documents: list[Tensor]) -> Tensor:
    import torch

    lengths = [document.shape[1] for document in documents]
    positions = torch.cat([torch.arange(length) for length in lengths])[None].to(model.device)
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(model.device, torch.int32)
    inputs = packed_inputs(model, positions, bounds, max(lengths))
    hidden: Tensor = body(model)(input_ids=torch.cat(documents, dim=1), **inputs).last_hidden_state
    return hidden


def _slides(config: PretrainedConfig) -> bool:
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return "sliding_attention" in kinds
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def _candidates(model: PreTrainedModel, wanted: str) -> list[str]:
    if wanted != "auto":
        return [wanted]
    config = model.config.get_text_config()
    if getattr(config, "attn_logit_softcapping", None):
        return ["eager"]  # the only one that computes what this model was trained with
    if set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS:
        return ["sdpa", "eager"]  # chunked or linear layers, of which `varlen` knows nothing
    return ["varlen", "sdpa", "eager"]


def _takes_bounds(model: PreTrainedModel) -> bool:
    return str(model.config._attn_implementation).startswith(_OURS)


def _set(model: PreTrainedModel, name: str) -> bool:
    """Set an implementation by transformers' name; False where the model does not have it."""
    if name.startswith(_OURS) and not model._supports_sdpa:
        return False
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError):
        return False
    return bool(model.config._attn_implementation == name)
