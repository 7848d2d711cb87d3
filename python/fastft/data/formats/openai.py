"""Messages as the OpenAI API and transformers' chat templates take them.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}

`content` is a string or a list of parts of type `text`, `reasoning` or `tool_call` with their
text under `text` or `value`. A message's `train` (or `loss_weight`, `weight`: 0 or 1) says
whether it carries a loss.
"""

from __future__ import annotations

from fastft.config.kinds import Format


class OpenAi(Format, kind="openai"):
    """Names of columns and of a message's keys."""

    messages: str = "messages"
    """Column of the list of messages."""
    tools: str = "tools"
    """Column of the tools that may be called: JSON, or JSON in a string."""
    role_tag: str = "role"
    """Key of a message's role."""
    content_tag: str = "content"
    """Key of a message's text or parts."""
