"""Stochastic gradient descent, with momentum when asked: `b = m b + g`, `w = w - lr b`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fastft.config.kinds import Optimizer
from fastft.core.errors import Problem

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fastft.config.schema import RunConfig


class SGD(Optimizer, kind="sgd"):
    """Stochastic gradient descent; holds no state without momentum."""

    lr: Annotated[float, Field(gt=0)] = 1e-2
    """Peak learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """How much of the last update is kept in the next."""
    nesterov: bool = False
    """Look one momentum step ahead."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Part of a weight added to its gradient; biases and norms are spared."""

    def build(self, parameters: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Build torch's SGD over two groups, with and without decay."""
        import torch

        from fastft.optimizers._groups import decay_groups

        return torch.optim.SGD(
            decay_groups(parameters, self.weight_decay), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov
        )

    def conflicts(self, run: RunConfig) -> Iterable[Problem]:
        """Nesterov's step looks ahead along the momentum, so there has to be some."""
        if self.nesterov and self.momentum == 0:
            yield Problem(
                "optimizer.no-momentum",
                "optimizer.nesterov",
                "`nesterov` looks ahead along the momentum, and `momentum` is 0",
                hint="set `optimizer.momentum = 0.9`, or leave `nesterov` out",
            )
