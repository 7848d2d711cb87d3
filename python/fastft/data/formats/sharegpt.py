"""Conversations as ShareGPT and LLaMA-Factory write them.

    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}], "tools": "[...]"}

Questions (user, observation) and answers (assistant, function call) take turns, a question
first and an answer last; a system message may stand before them. With `chosen` and `rejected`,
the last message is a question, and they are its two answers; with `label`, the last answer is
wanted or not.
"""

from __future__ import annotations

from fastft.data.formats._columns import Compared


class ShareGpt(Compared, kind="sharegpt"):
    """Names of columns, of a message's keys, and of the roles."""

    messages: str = "conversations"
    """Column of the list of messages."""
    role_tag: str = "from"
    """Key of a message's role."""
    content_tag: str = "value"
    """Key of a message's text."""
    user_tag: str = "human"
    """Role of the user."""
    assistant_tag: str = "gpt"
    """Role of the assistant."""
    observation_tag: str = "observation"
    """Role of what a tool answered."""
    function_tag: str = "function_call"
    """Role of an assistant's call of tools; its text is JSON with `name` and `arguments`."""
    system_tag: str = "system"
    """Role of the system message."""
