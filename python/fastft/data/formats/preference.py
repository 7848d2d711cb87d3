"""A prompt with a better and a worse answer.

    {"prompt": "Name a planet", "chosen": "Mars", "rejected": "The Moon"}

Answers are texts, messages, lists of messages, or whole conversations that begin alike, as lists
or in Anthropic's notation (`Human: ... Assistant: ...`); then `prompt` may be missing.
"""

from __future__ import annotations

from typing import Literal

from fastft.data.formats._columns import Prompted


class Preference(Prompted, kind="preference"):
    """Names of the columns and of a message's keys."""

    prompt: str = "prompt"
    """Column of what is asked: a text or messages."""
    chosen: str = "chosen"
    """Column of the better answer."""
    rejected: str = "rejected"
    """Column of the worse answer."""
    answer: Literal["chosen"] | None = None
    """`chosen` learns from the better answer as from any other and does not read the worse."""
