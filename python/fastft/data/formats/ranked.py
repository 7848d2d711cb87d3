"""A prompt with several answers that have ranks or scores.

    {"prompt": "Name a planet", "answers": ["Mars", "The Moon", "A planet"], "ranks": [1, 3, 2]}

Ranks and scores stand in a column of their own, in the order of the answers, or in answers that
are objects: `{"text": "Mars", "score": 9.5}`.
"""

from __future__ import annotations

from typing import Literal

from fastft.data.formats._columns import Prompted


class Ranked(Prompted, kind="ranked"):
    """Names of the columns and of an answer's keys."""

    prompt: str = "prompt"
    """Column of what is asked: a text or messages."""
    answers: str = "answers"
    """Column of the list of answers: texts, messages, lists of messages, or objects with a text."""
    ranks: str = "ranks"
    """Column of their ranks, the lowest the best."""
    scores: str = "scores"
    """Column of their scores, the highest the best; read where there are no ranks."""
    text_tag: str = "text"
    """In an answer that is an object: key of its text."""
    rank_tag: str = "rank"
    """In an answer that is an object: key of its rank."""
    score_tag: str = "score"
    """In an answer that is an object: key of its score."""
    ties: Literal["error", "first"] = "error"
    """Answers that are equally good: set the row aside, or keep the first of them."""
    answer: Literal["chosen"] | None = None
    """`chosen` learns from the best answer as from any other."""
