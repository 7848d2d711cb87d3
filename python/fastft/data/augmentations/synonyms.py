"""Words replaced by others that mean the same.

Done by `rust/augment/src/synonyms.rs`; the case of a word and the fit of `a` or `an` before it are kept.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fastft.config.augmentation import Augmentation


class Synonyms(Augmentation, kind="synonyms"):
    """Words replaced by synonyms."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Part of the words with a synonym that are replaced; at least one of a text."""
    dictionary: str | None = None
    """A file of lines `word<TAB>synonym,synonym`, or a WordNet folder; absent is a list of 3,500 English words."""
