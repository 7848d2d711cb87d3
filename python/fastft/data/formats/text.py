"""Plain text: a column of JSON rows, or text files.

{"text": "Once upon a time ..."}
"""

from __future__ import annotations

from typing import Literal

from fastft.config.kinds import Format


class Text(Format, kind="text"):
    """Where text stands, and what a document of a text file is."""

    column: str = "text"
    """Column of the text in rows of JSON; a row may also be a bare string."""
    unit: Literal["line", "paragraph", "file"] = "line"
    """A document of a text file: every line that is not blank, lines up to a blank one, or the whole file."""
