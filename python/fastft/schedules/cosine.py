"""Half a cosine from the peak to a floor, after a linear warm-up.

    factor = floor + (1 - floor) (1 + cos(pi progress)) / 2

Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field

from fastft.schedules.constant import Constant, _whole_steps


class Cosine(Constant, kind="cosine"):
    """Half a cosine from the peak down to `floor`."""

    warmup: Annotated[float, Field(ge=0), AfterValidator(_whole_steps)] = 0.03
    """Steps over which the rate rises to its peak: below 1 a part of the run, from 1 up a number of steps."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The factor at the end of the run."""

    def decay(self, progress: float) -> float:
        """The factor after the warm-up, `progress` in [0, 1) of the way to the end."""
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
