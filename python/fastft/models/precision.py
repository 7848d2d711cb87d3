"""In which type a model is held and computed on a device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type of the weights for the config's `model.dtype`.

    `auto` is bfloat16 on a CUDA device that computes in it, else float32: on a CPU without
    bfloat16 units a step takes two to three times as long in it.
    """
    import torch

    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    chosen = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    return chosen


def autocast(model: nn.Module) -> AbstractContextManager[object]:
    """The context of a forward pass: autocast where weights are held wider than the model computes.

    A model whose config says bfloat16 but whose trained weights are float32 (`method = "full"`)
    computes its products in bfloat16; one that is float32 throughout is left alone.
    """
    import torch

    config = getattr(model, "config", None)
    compute = getattr(config, "dtype", None)
    held = next((p for p in model.parameters() if p.requires_grad and p.is_floating_point()), None)
    base = next((p for p in model.parameters() if not p.requires_grad and p.is_floating_point()), None)
    if held is None or base is not None or compute not in (torch.bfloat16, torch.float16) or held.dtype == compute:
        return nullcontext()
    return torch.autocast(held.device.type, dtype=compute)
