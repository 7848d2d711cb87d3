"""AdamW: Adam with weight decay apart from the gradient.

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
    w = w - lr (m^ / (sqrt(v^) + eps) + decay w),   ^: divided by 1 - b^t

Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101. torch's fused implementation,
which has kernels for the CPU and for CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fastft.config.kinds import Optimizer

if TYPE_CHECKING:
    import torch
    from torch import nn


class AdamW(Optimizer, kind="adamw"):
    """Adam with weight decay apart from the gradient."""

    lr: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """How slowly the means of the gradient and of its square move."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the mean square, so that a still weight divides by no zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Part of a weight, times the learning rate, taken off at each step; biases and norms are spared."""

    def build(self, parameters: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Build torch's AdamW over two groups, with and without decay."""
        import torch

        from fastft.optimizers._groups import decay_groups

        fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for _, p in parameters)
        return torch.optim.AdamW(
            decay_groups(parameters, self.weight_decay), lr=self.lr, betas=self.betas, eps=self.eps, fused=fused
        )
