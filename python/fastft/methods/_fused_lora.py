"""PEFT's LoRA layer with its arithmetic done by `ops.lora_linear`.

The layer is PEFT's in every other respect (names, files, merging); PEFT makes it through
`LoraConfig._register_custom_module`. Whatever the op does not cover (dropout, several
adapters, variants, a merged or switched-off adapter) takes PEFT's own path.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear
from torch import nn

from fastft.ops import lora_linear


class FusedLinear(Linear):
    """A frozen `nn.Linear` and its low-rank update in one op."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`x W^T + b + scale (x A^T) B^T`, shapes as in `ops/lora_linear.py`."""
        if args or kwargs or self.merged or self.disable_adapters or len(self.active_adapters) != 1:
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        dropout = self.lora_dropout[name] if name in self.lora_A else None
        plain = dropout is not None and (isinstance(dropout, nn.Identity) or not self.training)
        base = self.base_layer
        if not plain or name in self.lora_variant or x.dtype != base.weight.dtype or base.weight.requires_grad:
            return super().forward(x)
        a, b = self.lora_A[name], self.lora_B[name]
        if b.bias is not None:
            return super().forward(x)
        return lora_linear(x, base.weight, base.bias, a.weight, b.weight, self.scaling[name])


def fuse(config: LoraConfig, model: nn.Module) -> None:
    """Have PEFT adapt the linear layers of `model` with `FusedLinear`.

    A subclass of `nn.Linear` (a quantized layer) has a LoRA layer of its own in PEFT, and the
    mapping would take that from it; a model with any is left to PEFT as a whole.
    """
    if all(type(module) is nn.Linear for module in model.modules() if isinstance(module, nn.Linear)):
        config._register_custom_module({nn.Linear: FusedLinear})
