"""Instruction data: a question and its answer in columns of their own.

    {"instruction": "Translate to French", "input": "cheese", "output": "fromage"}

The question is instruction and input, joined by a newline. `history` is a list of earlier
`[question, answer]` pairs. With `chosen` and `rejected`, rows have two answers in place of
`output`; with `label`, `output` is wanted or not.
"""

from __future__ import annotations

from fastft.data.formats._columns import Compared


class Alpaca(Compared, kind="alpaca"):
    """Names of the columns; a column that rows lack is left out, but for the answer."""

    instruction: str = "instruction"
    """Column of the question."""
    input: str = "input"
    """Column of what the question is about; set below it."""
    output: str = "output"
    """Column of the answer."""
    history: str = "history"
    """Column of earlier turns, a list of `[question, answer]`."""
