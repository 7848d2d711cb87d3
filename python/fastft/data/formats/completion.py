"""A prompt with its completion, of which only the completion is learnt.

    {"prompt": "Name a planet", "completion": "Mars"}

Both are texts, messages or lists of messages; answers within the prompt carry no loss unless
their own `weight` says so.
"""

from __future__ import annotations

from fastft.data.formats._columns import Prompted


class Completion(Prompted, kind="completion"):
    """Names of the columns and of a message's keys."""

    prompt: str = "prompt"
    """Column of what is asked: a text or messages. May be missing where the completion contains it."""
    completion: str = "completion"
    """Column of the answer."""
