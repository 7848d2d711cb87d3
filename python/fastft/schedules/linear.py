"""A straight line from the peak to a floor, after a linear warm-up: `1 - (1 - floor) progress`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from fastft.schedules.constant import Constant, _whole_steps


class Linear(Constant, kind="linear"):
    """A straight line from the peak down to `floor`."""

    warmup: Annotated[float, Field(ge=0), AfterValidator(_whole_steps)] = 0.03
    """Steps over which the rate rises to its peak: below 1 a part of the run, from 1 up a number of steps."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The factor at the end of the run."""

    def decay(self, progress: float) -> float:
        """The factor after the warm-up, `progress` in [0, 1) of the way to the end."""
        return 1 - (1 - self.floor) * min(progress, 1.0)
