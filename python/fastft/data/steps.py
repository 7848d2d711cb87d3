"""How the windows of an epoch fall into steps.

A step has a fixed number of windows, and the last one those that are left. Where no rank may go without, the last step
has at least as many as there are ranks: it takes some of the one before, or is joined to it.
"""

from __future__ import annotations

from fastft.core.errors import DataError
from fastft.core.units import count


def step_size(left: int, windows_per_step: int, least: int = 1) -> int:
    """Windows of the next step.

    Args:
        left: windows that the epoch has still.
        windows_per_step: windows of all steps but the last two.
        least: windows that the last step has, or more.
    """
    size = min(left, windows_per_step)
    if 0 < left - size < least:
        return left - least if left >= 2 * least else left
    return size


def num_steps(windows: int, windows_per_step: int, least: int = 1) -> int:
    """Steps of an epoch of so many windows."""
    steps, left = 0, windows
    while left > 0:
        # the last two are not like the others
        many = max(0, left // windows_per_step - 2)
        steps, left = steps + many, left - many * windows_per_step
        steps, left = steps + 1, left - step_size(left, windows_per_step, least)
    return steps


def too_few(windows: int, world: int) -> DataError:
    """What is wrong where each rank is to have a window, and fewer are left."""
    return DataError(
        f"{count(windows, 'window')} {'is' if windows == 1 else 'are'} left in this epoch, "
        f"fewer than the {world:,} ranks",
        hint="use fewer ranks, or lower `data.max_length` so that there are more windows",
        code="data.empty",
    )
