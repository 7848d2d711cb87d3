"""A constant learning rate after a linear warm-up; the other schedules are its subclasses.

    factor = (step + 1) / warm for step < warm, then 1

The first step already learns: it has `1 / warm` of the rate, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from fastft.config.kinds import Schedule
from fastft.core.errors import Problem

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig


def _whole_steps(value: float) -> float:
    if value >= 1 and value != int(value):
        raise ValueError(f"from 1 up it is a number of steps and must be whole, got {value}")
    return value


class Constant(Schedule, kind="constant"):
    """The peak learning rate throughout, after a warm-up."""

    warmup: Annotated[float, Field(ge=0), AfterValidator(_whole_steps)] = 0.0
    """Steps over which the rate rises to its peak: below 1 a part of the run, from 1 up a number of steps."""

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak learning rate for 0-based `step` of `total`."""
        warm = self.warmup_steps(total)
        if step < warm:
            return (step + 1) / warm
        return self.decay((step - warm) / max(1, total - warm))

    def warmup_steps(self, total: int) -> int:
        """How many of `total` steps the warm-up takes."""
        return math.ceil(self.warmup * total) if self.warmup < 1 else int(self.warmup)

    def decay(self, progress: float) -> float:
        """The factor after the warm-up, `progress` in [0, 1) of the way to the end."""
        return 1.0

    def conflicts(self, run: RunConfig) -> Iterable[Any]:
        """A warm-up as long as the run never reaches the peak."""
        if run.steps is not None and self.warmup >= 1 and self.warmup >= run.steps:
            yield Problem(
                "schedule.warmup-too-long",
                "schedule.warmup",
                f"the warm-up takes {self.warmup:.0f} steps and the run has {run.steps}",
                hint="use a part of the run, for example `warmup = 0.1`",
            )
