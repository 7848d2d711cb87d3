"""How the work of a step is spread over processes: one file a strategy.

The loop calls these few operations and knows nothing else about where it runs. All are collective:
every rank calls them, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from fastft.run.plan import Plan


class Strategy(Protocol):
    """What the loop asks of the processes that train together."""

    rank: int
    world: int

    def prepare(self, model: nn.Module) -> None:
        """Make the trained weights equal on all ranks: those of rank 0."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add numbers over all ranks, in float64; all ranks get the result."""

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradients of all ranks, in place; a parameter without one counts as zero."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, which have one shape, by rank."""

    def barrier(self) -> None:
        """Wait for all ranks."""

    def close(self) -> None:
        """Leave the group."""


def open_strategy(plan: Plan) -> Strategy:
    """Join the processes that the plan names."""
    if plan.strategy == "ddp":
        from fastft.run.strategies.ddp import Ddp

        return Ddp(plan)
    from fastft.run.strategies.single import Single

    return Single()


def gather_bytes(strategy: Strategy, mine: bytes) -> list[bytes]:
    """What each rank has to say, by rank; collective."""
    import torch

    sizes = [int(size) for size in strategy.gather(torch.tensor(len(mine)))]
    padded = torch.zeros(max(sizes), dtype=torch.uint8)
    padded[: len(mine)] = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
    return [bytes(each[:size].tolist()) for each, size in zip(strategy.gather(padded), sizes, strict=True)]


__all__ = ["Strategy", "gather_bytes", "open_strategy"]
