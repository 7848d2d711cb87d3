"""Sentences of a paragraph in another order, or two made one.

Done by `rust/augment/src/sentences.rs`. Lists, headings, tables, quotes and sentences with a placeholder stay.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from fastft.config.augmentation import Augmentation


class Sentences(Augmentation, kind="sentences"):
    """Sentences in another order."""

    shuffle: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Part of a paragraph's sentences that change places; at least two."""
    merge: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the borders between statements at which a semicolon takes the full stop's place."""

    @model_validator(mode="after")
    def _does_something(self) -> Sentences:
        if self.shuffle == 0 and self.merge == 0:
            raise ValueError("`shuffle` and `merge` are both 0, so there is nothing to do")
        return self
