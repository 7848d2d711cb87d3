"""The same in other words, as a language model says it.

Asked for by `data/augment.py`.
"""

from __future__ import annotations

from fastft.config.augmentation import EndpointAugmentation


class Paraphrase(EndpointAugmentation, kind="paraphrase"):
    """The same in other words, from a language model."""

    prompt: str = (
        "Say the text below in other words and in the same language. Keep its meaning, its tone and every detail. "
        "Keep code, links, numbers, names and anything in angle brackets exactly as they are. "
        "Answer with the new text and nothing else.\n\n{text}"
    )
    """What the model is asked; `{text}` stands for the text."""
