"""A prompt with one answer that is wanted or not.

    {"prompt": "Name a planet", "completion": "The Moon", "label": false}

Prompt and completion are texts, messages or lists of messages. Only the completion is learnt.
"""

from __future__ import annotations

from fastft.data.formats._columns import Prompted


class Kto(Prompted, kind="kto"):
    """Names of the columns and of a message's keys."""

    prompt: str = "prompt"
    """Column of what is asked: a text or messages."""
    completion: str = "completion"
    """Column of the answer."""
    label: str = "label"
    """Column that says whether the answer is wanted: true or false."""
