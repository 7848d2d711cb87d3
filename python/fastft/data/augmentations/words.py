"""Words left out, two in the wrong order, or one said twice.

Done by `rust/augment/src/words.rs`. In scripts without spaces a letter is a word.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastft.config.augmentation import Augmentation


class Words(Augmentation, kind="words"):
    """Words left out, swapped or repeated."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Part of the words that slip; at least one of a text."""
    edits: Annotated[list[Literal["drop", "swap", "repeat"]], Field(min_length=1)] = Field(
        default=["drop", "swap", "repeat"]
    )
    """What happens to them."""

    def learns_errors(self) -> bool:
        """See `Augmentation.learns_errors`."""
        return True
