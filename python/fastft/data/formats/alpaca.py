"""Instruction data: a question and its answer in columns of their own.

    {"instruction": "Translate to French", "input": "cheese", "output": "fromage"}

The question is instruction and input, joined by a newline. `history` is a list of earlier
`[question, answer]` pairs.
"""

from __future__ import annotations

from fastft.config.kinds import Format


class Alpaca(Format, kind="alpaca"):
    """Names of the columns; a column that rows lack is left out, but for the answer."""

    instruction: str = "instruction"
    """Column of the question."""
    input: str = "input"
    """Column of what the question is about; set below it."""
    output: str = "output"
    """Column of the answer."""
    system: str = "system"
    """Column of the system message."""
    history: str = "history"
    """Column of earlier turns, a list of `[question, answer]`."""
    tools: str = "tools"
    """Column of the tools that may be called: JSON, or JSON in a string."""
