"""Adapters in PEFT's format: written, read, and merged into their base.

    W' = W + scale B A, in float32, whatever type the result is stored in

An adapter is a folder of `adapter_config.json` and `adapter_model.safetensors`, as plain PEFT
reads it; the same weights give the same bytes.
"""

from __future__ import annotations

import json
import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import ModelError, UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(model: nn.Module, folder: Path) -> None:
    """Write the adapter of a PEFT model into an existing folder.

    Raises:
        ModelError: when the model has no adapter.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import save_file

    if not isinstance(model, PeftModel):
        raise ModelError(f"{type(model).__name__} has no adapter to save", code="model.no-adapter")
    name = model.active_adapter
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    tensors = {key: state[key].detach().cpu().contiguous() for key in sorted(state)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    described = _plain(model.peft_config[name].to_dict()) | {"inference_mode": True}
    text = json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> nn.Module:
    """Put the adapter of a folder on a model.

    Args:
        model: the base.
        folder: holds `adapter_config.json` and `adapter_model.safetensors`.
        trainable: whether it goes on learning.

    Returns:
        A PEFT model around `model`.

    Raises:
        ModelError: when there is no adapter, or it does not fit the model.
    """
    from peft import PeftModel

    described = adapter_config(folder)
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 by the old name; remove when peft has moved to the new one
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(
            f"the adapter in `{folder}` does not fit {type(model).__name__}: {str(error).strip().splitlines()[0]}",
            hint=f"it was trained on `{described.get('base_model_name_or_path')}`",
            code="model.adapter-mismatch",
        ) from error


def adapter_config(folder: Path) -> dict[str, Any]:
    """What `adapter_config.json` says.

    Raises:
        ModelError: when the folder holds no adapter.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"`{folder}` holds no adapter: it has no `{name}`", code="model.no-adapter")
    described: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return described


def merged(model: nn.Module, dtype: torch.dtype) -> PreTrainedModel:
    """Merge the adapter of a PEFT model into its base, in place.

    Args:
        model: a PEFT model whose base is held in float32.
        dtype: what the result is cast to afterwards.

    Raises:
        UnsupportedError: for adapters that copy layers, which PEFT merges into a wrong model.
        ModelError: when the model has no adapter.
    """
    from peft import PeftModel
    from torch import nn

    if not isinstance(model, PeftModel):
        raise ModelError(f"{type(model).__name__} has no adapter to merge", code="model.no-adapter")
    for config in model.peft_config.values():
        if getattr(config, "layer_replication", None):
            raise UnsupportedError(
                "an adapter with `layer_replication` can't be merged: its layers share base weights",
                code="model.merge",
            )
    whole: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    nn.Module.to(whole, dtype)  # transformers' own `to` is not typed
    return whole


def _plain(value: Any) -> Any:
    """As JSON holds it; sets, which have no order, sorted."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value
