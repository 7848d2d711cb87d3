"""From `model.path` to a model in memory, ready for a method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core.errors import ModelError, UnsupportedError
from fastft.models import attention
from fastft.models.resolve import resolve
from fastft.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.quantization_config import QuantizationConfigMixin

    from fastft.config.schema import ModelConfig


@dataclass(frozen=True)
class Loaded:
    """A model and what belongs to it.

    Attributes:
        model: on its device, in its dtype, in training mode, nothing trainable yet chosen.
        tokenizer: the live tokenizer.
        folder: where it was read from.
        attention: the attention implementation that is set, in the config's words.
        fused: number of modules that an op of fastft serves, by op.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    attention: str
    fused: dict[str, int]


def load(
    config: ModelConfig, *, device: torch.device, dtype: torch.dtype, packed: bool = True, s2_group: int | None = None
) -> Loaded:
    """Read a model.

    Args:
        config: the `model` table.
        device: where the weights go.
        dtype: their type.
        packed: whether rows of several documents will be given; then the attention must keep
            them apart, and that is tried on the model.
        s2_group: tokens of a group of S2 attention, where that is asked for.

    Raises:
        ModelError: when it can't be found or read.
        UnsupportedError: when it can't do what is asked of it.
    """
    from torch import nn

    from fastft.models import _fused

    folder = resolve(config.path, config.revision)
    tokenizer = load_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    quantizer = config.quantize
    reading = None if quantizer is None else quantizer.while_reading()
    model = read_model(folder, dtype=dtype, trust_remote_code=config.trust_remote_code, quantization=reading)
    # PEFT writes this into the adapter as its base: the path the user gave finds the model again, the cache's may not.
    model.name_or_path = config.path
    rows = attention.embeddings(model).num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of `{config.path}` has {len(tokenizer)} ids and the model {rows} embeddings",
            hint="tokenizer and model do not belong together",
            code="model.tokenizer-mismatch",
        )
    if quantizer is not None and reading is None:
        model = quantizer.quantize(model)
    nn.Module.to(model, device)  # transformers' own `to` is not typed
    fused = _fused.fuse(model)
    chosen = attention.choose(model, config.attention, packed=packed, s2_group=s2_group)
    if config.recompute == "full":
        _recompute(model)
    model.config.use_cache = False
    model.train()
    return Loaded(model, tokenizer, folder, chosen, dict(fused))


def read_model(
    folder: Path,
    *,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
    quantization: QuantizationConfigMixin | None = None,
) -> PreTrainedModel:
    """The causal language model in a folder, on the CPU; `quantization` is what a quantizer's `while_reading` gave.

    Raises:
        ModelError: when the folder does not hold one.
    """
    import safetensors
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a run shows its own progress

    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            attn_implementation=None,
            quantization_config=quantization,
        )
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = None
        if "trust_remote_code" in str(error):
            hint = "it comes with code of its own: read it, then set `model.trust_remote_code = true`"
        elif isinstance(error, safetensors.SafetensorError):
            hint = "a weight file is damaged or cut short: fetch it again"
        raise ModelError(f"`{folder}` can't be read as a causal language model: {text}", hint=hint) from error
    return model


def _recompute(model: PreTrainedModel) -> None:
    if not model.supports_gradient_checkpointing:
        raise UnsupportedError(
            f'{type(model).__name__} has no activation checkpointing, and `model.recompute = "full"` asks for it',
            hint='set `model.recompute = "none"`',
            code="model.recompute",
        )
    model.activation_checkpointing_enable({"use_reentrant": False})
