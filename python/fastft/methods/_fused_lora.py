"""PEFT's LoRA layer with its arithmetic done by `ops.lora_linear`, over dense weights and over NF4.

The layer is PEFT's in every other respect (names, files, merging); PEFT makes it through
`LoraConfig._register_custom_module`. Whatever the op does not cover (dropout, several
adapters, other variants, a merged or switched-off adapter) takes PEFT's own path.

Layers of one parent that get the same input (q, k, v; gate, up) are computed together when the first of
them is called, and the others hand out what is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear, LoraVariant
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn

from fastft.core.errors import UnsupportedError
from fastft.methods._fused_dora import FusedDora, Parts
from fastft.models.quantizers._nf4_linear import NF4Linear
from fastft.ops import lora_linears

GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names of layers that most decoders give one input."""


class FusedLinear(Linear):
    """A frozen `nn.Linear` or `NF4Linear` and its low-rank update in one op."""

    group: Group | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`x W^T + b + scale (x A^T) B^T`, shapes as in `ops/lora_linear.py`."""
        if args or kwargs or not self.plain(x):
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        variant = self.lora_variant.get(name)
        if isinstance(variant, FusedDora):
            return variant.fused(self, name, x)
        if self.group is not None and not torch.compiler.is_compiling():
            return self.group.output(self, x)
        return apply([self], x)[0]

    def plain(self, x: Tensor) -> bool:
        """Whether the op computes what PEFT would on this input."""
        if self.merged or self.disable_adapters or len(self.active_adapters) != 1:
            return False
        name = self.active_adapters[0]
        if name not in self.lora_A or self.lora_B[name].bias is not None:
            return False
        dropout = self.lora_dropout[name]
        if not isinstance(dropout, nn.Identity) and self.training:
            return False
        base = self.base_layer
        if not isinstance(base, NF4Linear) and (x.dtype != base.weight.dtype or base.weight.requires_grad):
            return False
        return name not in self.lora_variant or isinstance(self.lora_variant[name], FusedDora)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """As PEFT, into a dense weight only.

        Raises:
            UnsupportedError: over NF4, which would be quantized a second time.
        """
        if isinstance(self.base_layer, NF4Linear):
            raise UnsupportedError(
                "an adapter is not merged into an NF4 weight: that would round the sum to four bits",
                hint="merge it into the full-precision base: `fastft export`",
                code="method.merge-nf4",
            )
        super().merge(safe_merge, adapter_names)

    @property
    def lora_variants(self) -> dict[tuple[str, ...], type[LoraVariant] | None]:
        """PEFT's variants, DoRA being the one over our ops."""
        known: dict[tuple[str, ...], type[LoraVariant] | None] = super().lora_variants
        return {key: FusedDora if value is DoraLinearVariant else value for key, value in known.items()}


def apply(layers: list[FusedLinear], x: Tensor) -> tuple[Tensor, ...]:
    """The outputs of layers with a plain adapter each."""
    parts = [Parts.of(layer, layer.active_adapters[0]) for layer in layers]
    biases = [part.bias for part in parts if part.bias is not None]
    return lora_linears(
        x,
        [part.weight for part in parts],
        [part.a for part in parts],
        [part.b for part in parts],
        [part.scale for part in parts],
        biases=biases or None,
    )


@dataclass
class Group:
    """Layers of one parent that are given the same input, one after another."""

    members: list[FusedLinear]
    x: Tensor | None = None
    version: int = 0
    waiting: dict[int, Tensor] = field(default_factory=dict)
    misses: int = 0

    def output(self, layer: FusedLinear, x: Tensor) -> Tensor:
        """What `layer` makes of `x`; computed for all members when the first of them asks."""
        place = next(i for i, member in enumerate(self.members) if member is layer)
        if self.x is x and self.version == x._version and place in self.waiting:
            result = self.waiting.pop(place)
            if not self.waiting:
                self.x = None
            return result
        self.misses += len(self.waiting)  # computed and never asked for: another architecture than it seems
        self.x, self.waiting = None, {}
        if place or self.misses > len(self.members) or not self._together(x):
            return apply([layer], x)[0]
        outputs = apply(self.members, x)
        self.x, self.version, self.waiting = x, x._version, dict(enumerate(outputs))
        return self.waiting.pop(place)

    def _together(self, x: Tensor) -> bool:
        """Whether all are alike, and gradients are taken; else a group has nothing to win."""
        first = self.members[0].base_layer
        return torch.is_grad_enabled() and all(
            member.plain(x)
            and member.active_adapters[0] not in member.lora_variant
            and _alike(first, member.base_layer)
            for member in self.members
        )


def _alike(first: nn.Module, second: nn.Module) -> bool:
    packed = isinstance(first, NF4Linear), isinstance(second, NF4Linear)
    if packed[0] != packed[1] or (first.bias is None) != (second.bias is None):
        return False
    if not (isinstance(first, NF4Linear) and isinstance(second, NF4Linear)):
        return True
    return first.blocksize == second.blocksize and (first.nested is None) == (second.nested is None)


def fuse(config: LoraConfig, model: nn.Module) -> None:
    """Have PEFT adapt the linear layers of `model` with `FusedLinear`.

    Another subclass of `nn.Linear` (a layer quantized by others) has a LoRA layer of its own in PEFT, and
    the mapping would take that from it; a model with any is left to PEFT as a whole.
    """
    if all(type(module) in (nn.Linear, NF4Linear) for module in model.modules() if isinstance(module, nn.Linear)):
        config._register_custom_module({nn.Linear: FusedLinear})


def group(model: nn.Module) -> None:
    """Let the fused layers of one parent that share their input compute together."""
    for parent in model.modules():
        for names in GROUPS:
            members = [getattr(parent, name, None) for name in names]  # modules are found by their names
            fused = [member for member in members if isinstance(member, FusedLinear)]
            if len(fused) == len(names):
                shared = Group(fused)
                for member in fused:
                    member.group = shared
