"""One process does it all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


class Single:
    """The strategy of one process; every collective is the identity."""

    rank = 0
    world = 1

    def prepare(self, model: nn.Module) -> None:
        """Nothing: there is one copy of the weights."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """The values themselves."""
        return list(values)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Nothing: the gradients are whole."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensor itself."""
        return [tensor]

    def barrier(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to leave."""
