"""Names that several formats have: what stands around messages, and answers to compare."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from fastft.config.kinds import Format


class Columns(Format):
    """Columns around the messages of a row; an empty name reads none."""

    system: str = "system"
    """Column of the system message; one at the head of the messages takes its place."""
    tools: str = "tools"
    """Column of the tools that may be called: JSON, or JSON in a string."""
    images: str = "images"
    """Column of references to pictures, one for each `<image>` in the messages."""
    videos: str = "videos"
    """Column of references to films, one for each `<video>`."""
    audios: str = "audios"
    """Column of references to sounds, one for each `<audio>`."""


class Prompted(Columns):
    """A prompt is a text, a message or a list of messages."""

    role_tag: str = "role"
    """Key of a message's role: `user`, `assistant`, `system`, `tool`, or `human`, `gpt`, `observation`."""
    content_tag: str = "content"
    """Key of a message's text or parts."""


class Compared(Columns):
    """Rows may have a better and a worse answer, or a label, besides or in place of their answer."""

    chosen: str = ""
    """Column of the better answer; with `rejected` it makes rows preferences."""
    rejected: str = ""
    """Column of the worse answer."""
    label: str = ""
    """Column that says whether the answer is wanted, true or false; it makes rows labelled."""
    answer: Literal["chosen"] | None = None
    """`chosen` learns from the better answer as from any other and does not read the worse."""

    @model_validator(mode="after")
    def _whole(self) -> Compared:
        if self.chosen and self.label:
            raise ValueError("`chosen` and `label` make different rows of one; keep one")
        if self.rejected and not self.chosen:
            raise ValueError("`rejected` needs `chosen`, the column of the better answer")
        if self.chosen and not self.rejected and self.answer is None:
            raise ValueError('`chosen` needs `rejected`, or `answer = "chosen"` to learn from it alone')
        if self.answer is not None and not self.chosen:
            raise ValueError("`answer` needs `chosen`, the column of the better answer")
        return self
