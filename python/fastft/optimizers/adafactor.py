"""Adafactor: Adam's second moment of a matrix kept as one row and one column.

    V ~ R C / sum(R):   rows + columns numbers of state instead of rows x columns

Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235. torch's implementation; the step is
scaled by the size of the weights, so `lr` is a fraction of a weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fastft.config.kinds import Optimizer

if TYPE_CHECKING:
    import torch
    from torch import nn


class Adafactor(Optimizer, kind="adafactor"):
    """Adam's second moment, factored: little memory for full fine-tuning."""

    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, as a fraction of the root mean square of a weight tensor."""
    beta2_decay: Annotated[float, Field(lt=0)] = -0.8
    """The second moment's rate at step t is `1 - t ** beta2_decay`."""
    clip: Annotated[float, Field(ge=1)] = 1.0
    """Updates are scaled down to this root mean square."""
    min_scale: Annotated[float, Field(gt=0)] = 1e-3
    """Least size of a weight tensor in the scaling, so that one that starts at zero can grow."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Part of a weight, times the learning rate, taken off at each step; biases and norms are spared."""

    def build(self, parameters: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Build torch's Adafactor over two groups, with and without decay."""
        import torch

        from fastft.optimizers._groups import decay_groups

        return torch.optim.Adafactor(
            decay_groups(parameters, self.weight_decay),
            lr=self.lr,
            beta2_decay=self.beta2_decay,
            eps=(None, self.min_scale),
            d=self.clip,
        )
