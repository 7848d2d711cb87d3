"""NF4: hold the linear layers of the base in four bits, as QLoRA does.

Weights are quantized while they are read. Each is decoded when its layer runs, and again in the backward
pass; only the packed form stays in memory, 4.13 bits a weight with `double_quant`. The codec is `fastft/ops/nf4.py`, bit
for bit that of bitsandbytes. Dettmers et al. 2023, https://arxiv.org/abs/2305.14314.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastft.config.kinds import Quantizer
from fastft.core.errors import UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel
    from transformers.utils.quantization_config import QuantizationConfigMixin

    from fastft.models.quantizers._nf4_linear import NF4Linear


class NF4(Quantizer, kind="nf4"):
    """Four-bit NormalFloat weights for the linear layers of the decoder."""

    blocksize: Literal[32, 64, 128, 256, 512, 1024, 2048, 4096] = 64
    """Weights that share a scale; smaller is more exact and takes more memory."""
    double_quant: bool = True
    """Hold the scales in eight bits too: 4.13 instead of 4.5 bits a weight (at 64 a block)."""

    def quantize(self, model: PreTrainedModel) -> PreTrainedModel:
        """Replace the linear layers inside the decoder's blocks, one by one.

        Raises:
            UnsupportedError: when the blocks hold weights that are no linear layers (fused experts, `Conv1D`).
        """
        for name in self.layers(model):
            linear = model.get_submodule(name)
            model.set_submodule(name, self.packed(linear.get_parameter("weight").detach(), linear))
        return model

    def while_reading(self) -> QuantizationConfigMixin:
        """What `from_pretrained` takes to quantize each weight as it comes from the file."""
        from fastft.models.quantizers._nf4_stream import StreamConfig

        return StreamConfig(self)

    def packed(self, weight: Tensor, linear: nn.Module) -> NF4Linear:
        """The layer that takes the place of `linear`, whose weight is given apart."""
        from fastft.models.quantizers._nf4_linear import NF4Linear
        from fastft.ops import nf4_quantize

        q = nf4_quantize(weight, blocksize=self.blocksize, double_quant=self.double_quant)
        bias = None if linear.bias is None else linear.get_parameter("bias")
        return NF4Linear(q, bias).train(linear.training)

    def layers(self, model: PreTrainedModel) -> list[str]:
        """The names of the layers that are held in NF4.

        Raises:
            UnsupportedError: as `quantize`.
        """
        linears, others = _weights_in_blocks(model)
        if others or not linears:
            example = f", for example `{others[0]}`" if others else ""
            raise UnsupportedError(
                f"nf4 is for linear layers, and the blocks of {type(model).__name__} hold other weights{example}",
                hint="leave `model.quantize` out for this model",
                code="model.quantize-unsupported",
            )
        return linears


def _weights_in_blocks(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the linear layers in the model's block lists, and of other matrices there."""
    from torch import nn

    blocks = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    linears = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and any(name.startswith(block) for block in blocks)
    ]
    known = {f"{name}.{part}" for name in linears for part in ("weight", "bias")}
    others = [
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and name not in known and any(name.startswith(block) for block in blocks)
    ]
    return linears, others
