"""PEFT's DoRA with its arithmetic done by our ops, over dense weights and over NF4.

    y = (m / n) * (x W^T + s (x A^T) B^T) + b,    n_i = |w_i + s b_i A|, without a gradient

PEFT makes W + s B A to take its norms, and a product with the unit matrix before it; here the norms come
from three narrow products (`ops/dora_norm.py`). Liu et al. 2024, https://arxiv.org/abs/2402.09353.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora.dora import DoraLinearLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn

from fastft.models.quantizers._nf4_linear import NF4Linear
from fastft.ops import NF4Weight, dora_norm, lora_linears, row_squares

if TYPE_CHECKING:
    from peft.tuners.lora.layer import Linear


@dataclass(frozen=True)
class Parts:
    """One layer and one adapter of it, as ops take them."""

    weight: Tensor | NF4Weight
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scale: float

    @classmethod
    def of(cls, layer: Linear, name: str) -> Parts:
        """What `layer` and its adapter `name` hold now."""
        base: Any = layer.base_layer  # a Module's attributes have no types
        a: Any = layer.lora_A[name]
        b: Any = layer.lora_B[name]
        weight = base.quantized() if isinstance(base, NF4Linear) else base.weight
        return cls(weight, base.bias, a.weight, b.weight, layer.scaling[name])


class FusedDora(DoraLinearVariant):
    """DoRA for `FusedLinear`; its magnitudes are PEFT's, by name and in the adapter's file."""

    known: tuple[tuple[int, int], Tensor] | None = None
    """The constant part of the norms, and which weight it is of."""

    @staticmethod
    def init(module: Linear, adapter_name: str, **kwargs: Any) -> None:  # type: ignore[override]
        """Give the layer its magnitudes: the norms that it starts with."""
        if not module.lora_magnitude_vector:
            module.adapter_layer_names = (*module.adapter_layer_names, "lora_magnitude_vector")
        variant: Any = module.lora_variant[adapter_name]
        parts = Parts.of(module, adapter_name)
        layer: Any = DoraLinearLayer(fan_in_fan_out=False)  # type: ignore[no-untyped-call]
        layer.weight = nn.Parameter(variant.norms(parts).to(parts.a.dtype))
        module.lora_magnitude_vector[adapter_name] = layer

    def norms(self, parts: Parts) -> Tensor:
        """The norms of the rows of `W + s B A`, (N,)."""
        held = parts.weight.packed if isinstance(parts.weight, NF4Weight) else parts.weight
        which = (held.data_ptr(), held._version)
        if self.known is None or self.known[0] != which:
            self.known = (which, row_squares(parts.weight))
        return dora_norm(parts.weight, parts.a, parts.b, parts.scale, self.known[1])

    def gain(self, module: Linear, name: str, parts: Parts, dtype: torch.dtype) -> Tensor:
        """`m / n`, (N,)."""
        magnitude: Any = module.lora_magnitude_vector[name]
        gain: Tensor = (magnitude.weight / self.norms(parts)).to(dtype)
        return gain

    def fused(self, module: Linear, name: str, x: Tensor) -> Tensor:
        """The layer's output where no dropout stands between x and A."""
        parts = Parts.of(module, name)
        (product,) = lora_linears(x, [parts.weight], [parts.a], [parts.b], [parts.scale])
        gain = self.gain(module, name, parts, x.dtype)
        return product * gain if parts.bias is None else torch.addcmul(parts.bias.to(x.dtype), product, gain)

    @staticmethod
    def forward(  # type: ignore[override]  # PEFT's own differ alike
        module: Linear, *, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """PEFT's own road, for dropout and for what it mixes: `result` is the base layer's output on the x before.

        With dropout, the magnitudes scale the base's product of the dropped x, as PEFT has it.
        """
        variant: Any = module.lora_variant[active_adapter]
        parts = Parts.of(module, active_adapter)
        dropped: Tensor = module.lora_dropout[active_adapter](x)
        gain = variant.gain(module, active_adapter, parts, result.dtype)
        product: Tensor = result if dropped is x else module.base_layer(dropped.to(result.dtype))
        if parts.bias is not None:
            product = product - parts.bias
        update = (dropped @ parts.a.t()) @ parts.b.t()
        changed: Tensor = result + (gain - 1) * product + gain * update * parts.scale
        return changed
