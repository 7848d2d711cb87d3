"""What a run leaves behind: an adapter or a whole model, in the formats of PEFT and transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core.errors import ModelError
from fastft.models.merge import CONFIG, load_adapter, save_adapter

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.config.kinds import Method


def save_trained(
    model: nn.Module, method: Method, folder: Path, *, tokenizer: PreTrainedTokenizerBase | None = None
) -> None:
    """Write what `method` trained into an existing folder; the same weights give the same bytes.

    Args:
        model: as `method.attach` returned it.
        method: says whether that is an adapter or a model.
        folder: the caller makes it, and makes it appear at once.
        tokenizer: written beside, with its chat template.
    """
    if method.saves == "adapter":
        save_adapter(model, folder)
    else:
        save_model(_transformers_model(model), folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def load_trained(model: PreTrainedModel, folder: Path) -> nn.Module:
    """Put back what `save_trained` wrote.

    Args:
        model: the base, as `load` reads it.
        folder: an adapter, or a model of the same architecture.

    Returns:
        A PEFT model around `model`, or `model` itself with the folder's weights.
    """
    if (folder / CONFIG).is_file():
        return load_adapter(model, folder)
    from fastft.models.load import read_model

    trained = read_model(folder, dtype=model.dtype)
    model.load_state_dict(trained.state_dict())
    return model


def save_model(model: PreTrainedModel, folder: Path, *, shard_size: str = "5GB") -> None:
    """Write a whole model in transformers' format.

    Weights are stored in the type that the model computes in (`config.dtype`): one trained in
    float32 under bfloat16 autocast has only ever been used as its bfloat16 rounding.
    """
    import torch

    dtype = model.config.dtype
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or model.dtype
    held = model.state_dict()
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in held.items()}
    for target, source in (model._tied_weights_keys or {}).items():
        # A cast makes two tensors of one; tied names must share memory again to be stored once.
        if target in held and source in held and held[target].data_ptr() == held[source].data_ptr():
            state[target] = state[source]
    model.save_pretrained(folder, state_dict=state, max_shard_size=shard_size)
    model.config.dtype = dtype  # `save_pretrained` has set it to the type the weights are held in
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    config["use_cache"] = True
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _transformers_model(model: nn.Module) -> PreTrainedModel:
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"{type(model).__name__} is no transformers model and can't be saved as one")
    return model
