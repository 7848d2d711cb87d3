"""Careless spacing and punctuation.

Done by `rust/augment/src/spacing.rs`. Lines and what they begin with stay.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastft.config.augmentation import Augmentation


class Spacing(Augmentation, kind="spacing"):
    """Spaces doubled or lost; marks set off, left out or doubled."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Part of the spaces and marks that are set otherwise; at least one of a text."""
    edits: Annotated[list[Literal["double", "join", "loose", "drop", "repeat"]], Field(min_length=1)] = Field(
        default=[
            "double",
            "join",
            "loose",
            "drop",
            "repeat",
        ]
    )
    """Two spaces for one, no space, a space before a mark, no mark, or a mark twice."""

    def learns_errors(self) -> bool:
        """See `Augmentation.learns_errors`."""
        return True
