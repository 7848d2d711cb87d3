"""Full fine-tuning: train every weight.

Weights that are trained are held in float32, even where the model computes in bfloat16: an
update of 1e-5 of a weight is below bfloat16's resolution of 4e-3 and would be rounded away.
The forward pass then runs under autocast (`models/precision.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

from fastft.config.kinds import Method
from fastft.core.errors import Problem

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from fastft.config.schema import RunConfig


class Full(Method, kind="full"):
    """Train every weight."""

    saves: ClassVar[Literal["adapter", "model"]] = "model"

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """Make every parameter trainable, in float32; the model itself is returned."""
        for parameter in model.parameters():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
        return model

    def conflicts(self, run: RunConfig) -> Iterable[Problem]:
        """Quantized weights can't be trained."""
        if run.model.quantize is not None:
            yield Problem(
                "method.quantized-weights",
                "model.quantize",
                f"`{run.model.quantize.kind}` weights take no gradient, and `full` trains every weight",
                hint='use `method.kind = "lora"`, or leave `model.quantize` out',
            )
