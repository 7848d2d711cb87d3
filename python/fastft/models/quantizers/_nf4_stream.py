"""Weights that become NF4 while transformers reads a checkpoint, so the whole model is never held in 16 bits.

transformers hands over each tensor as it comes from the file; what it gets back takes the place of the
layer. This uses its extension point for quantizers (`HfQuantizer`), and leaves no trace of it on the model:
what is loaded is a model with `NF4Linear` layers, as `NF4.quantize` makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from fastft.models.quantizers._nf4_linear import NF4Linear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fastft.models.quantizers.nf4 import NF4

NAME = "fastft-nf4"


@register_quantization_config(NAME)
class StreamConfig(QuantizationConfigMixin):
    """Carries the options of `NF4` through `from_pretrained`."""

    def __init__(self, options: NF4 | None = None) -> None:
        self.quant_method: Any = NAME  # transformers lists its own only
        self.options = options

    def to_dict(self) -> dict[str, Any]:
        """As transformers logs it."""
        return {"quant_method": NAME, "options": None if self.options is None else self.options.model_dump()}


@register_quantizer(NAME)
class StreamQuantizer(HfQuantizer):
    """Quantizes the linear layers of the decoder's blocks as they are read."""

    requires_calibration = False
    quantization_config: Any
    names: frozenset[str] = frozenset()

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        self.names = frozenset(f"{name}.weight" for name in self.quantization_config.options.layers(model))

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        self.remove_quantization_config(model)  # type: ignore[no-untyped-call]
        for module in model.modules():
            if isinstance(module, NF4Linear) and module.bias is not None:
                module.bias.requires_grad_(False)
        return model

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **kwargs: Any) -> bool:
        """Whether this tensor belongs to a layer that is held in NF4."""
        return param_name in self.names

    def get_quantize_ops(self) -> ConversionOps:
        """What is done to such a tensor."""
        return _Quantize(self.quantization_config.options)

    @property
    def is_trainable(self) -> bool:
        """Adapters are trained on top."""
        return True

    def is_serializable(self) -> bool:
        """As bitsandbytes' weights are."""
        return True


class _Quantize(ConversionOps):
    def __init__(self, options: NF4) -> None:
        self.options = options

    def convert(self, input_dict: dict[str, Any], model: nn.Module, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Put an `NF4Linear` where the layer was; its packed weight goes the way of any parameter."""
        result: dict[str, Tensor] = {}
        for name, value in input_dict.items():
            weight = value[0] if isinstance(value, list) else value
            path = name.rpartition(".")[0]
            packed = self.options.packed(weight, model.get_submodule(path))
            setattr(packed, "_is_hf_initialized", True)  # noqa: B010, transformers' mark: not to be initialized again
            model.set_submodule(path, packed)
            result[name] = packed.weight
        return result
