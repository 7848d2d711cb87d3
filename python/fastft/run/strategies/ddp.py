"""Data parallel: each rank holds the model, takes part of each step, and the gradients are added.

Gradients are added once a step, after the last micro-batch, in buckets. torch's wrapper is not used: it averages
over ranks, which is wrong when ranks hold different numbers of tokens, and it waits for a backward pass that a rank
without a micro-batch, on the ragged last step of an epoch, never makes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from fastft.run.strategies.meeting import Meeting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from fastft.run.plan import Plan

_BUCKET_BYTES = 32 << 20
"""Gradients sent at once: large enough to fill the wire, small enough not to double the memory."""


class Ddp:
    """Joins the process group that the environment names, over NCCL on GPUs and gloo on CPUs.

    The group is made when all ranks are here, whose data are prepared by then; see `meeting.py`.
    """

    def __init__(self, plan: Plan) -> None:
        import torch
        import torch.distributed as dist

        self.rank, self.world = plan.rank, plan.world
        self._device = torch.device(plan.device)
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)
        backend = "nccl" if self._device.type == "cuda" else "gloo"
        timeout = timedelta(seconds=plan.timeout_s)
        self._meeting = Meeting(self.rank, self.world, timeout)
        self._meeting.wait("data")
        store = self._meeting.store
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=timeout)

    def prepare(self, model: nn.Module) -> None:
        """Send the trained weights of rank 0 to all, when all have read the model."""
        import torch.distributed as dist

        self._meeting.wait("model")
        for parameter in model.parameters():
            if parameter.requires_grad:
                dist.broadcast(parameter.data, src=0)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add numbers over all ranks, in float64."""
        import torch
        import torch.distributed as dist

        total = torch.tensor(values, dtype=torch.float64, device=self._device)
        dist.all_reduce(total)
        result: list[float] = total.tolist()
        return result

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradients of all ranks, in place, bucket by bucket."""
        import torch
        import torch.distributed as dist

        for bucket in _buckets(parameters):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, part in zip(
                bucket, torch.split(flat, [gradient.numel() for gradient in bucket]), strict=True
            ):
                gradient.copy_(part.view_as(gradient))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, by rank, on the CPU."""
        import torch
        import torch.distributed as dist

        mine = tensor.to(self._device)
        everyone = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(everyone, mine)
        return [each.to(tensor.device) for each in everyone]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum([0.0])

    def close(self) -> None:
        """Leave the process group."""
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype each, about a bucket's size; the same on every rank, since zeros stand in for none."""
    import torch

    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradient = parameter.grad
        if bucket and (gradient.dtype != bucket[0].dtype or size >= _BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel() * gradient.element_size()
    if bucket:
        yield bucket
