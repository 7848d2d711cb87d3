"""Typing errors: a key beside, two letters in the wrong order, a letter too few or too many, a shift.

Done by `rust/augment/src/characters.rs`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastft.config.augmentation import Augmentation


class Characters(Augmentation, kind="characters"):
    """Typing errors."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Part of the letters that get an error; at least one of a text."""
    edits: Annotated[list[Literal["typo", "swap", "delete", "insert", "case"]], Field(min_length=1)] = Field(
        default=[
            "typo",
            "swap",
            "delete",
            "insert",
        ]
    )
    """Which errors are made: the key beside, two letters swapped, one left out, one more, or the other case."""
    keyboard: Literal["qwerty", "qwertz", "azerty"] = "qwerty"
    """Which keys lie beside which."""

    def learns_errors(self) -> bool:
        """See `Augmentation.learns_errors`."""
        return True
