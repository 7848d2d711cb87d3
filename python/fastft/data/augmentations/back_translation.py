"""There and back: a text translated into another language and into its own again.

Asked for by `data/augment.py`, two requests for each text. Sennrich et al. 2016, https://arxiv.org/abs/1511.06709.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from fastft.config.augmentation import EndpointAugmentation


class BackTranslation(EndpointAugmentation, kind="back_translation"):
    """Translated into another language and back, by a language model."""

    languages: Annotated[list[str], Field(min_length=1)]
    """Languages on the way, by name; the copies of a row take them in turn."""
    language: str = "English"
    """Language of the data."""
    prompt: str = (
        "Translate the text below into {language}. Keep its meaning and its tone. "
        "Keep code, links, numbers and anything in angle brackets exactly as they are. "
        "Answer with the translation and nothing else.\n\n{text}"
    )
    """What the model is asked; `{text}` stands for the text, `{language}` for the language wanted."""

    def steps(self, variant: int) -> list[str | None]:
        """See `EndpointAugmentation.steps`."""
        return [self.languages[variant % len(self.languages)], self.language]

    @model_validator(mode="after")
    def _names_languages(self) -> BackTranslation:
        if "{language}" not in self.prompt:
            raise ValueError("`prompt` has no `{language}`, so the model would not know where to")
        return self
