"""Messages as the OpenAI API and transformers' chat templates take them.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}

`content` is a string or a list of parts: `text`, `reasoning` or `tool_call` with their text under
`text` or `value`, and `image_url`, `video_url`, `input_audio` and their like. A message may call
tools (`tool_calls`, or `function_call` as it once was) beside its text; arguments are an object,
or one as JSON in a string. A message's `train` or `weight` (also `loss_weight`) says whether and
how much it counts. With `chosen` and `rejected`, the messages are the prompt of two answers; with
`label`, the conversation is wanted or not.
"""

from __future__ import annotations

from fastft.data.formats._columns import Compared


class OpenAi(Compared, kind="openai"):
    """Names of columns, of a message's keys, and of roles; the standard roles are known besides."""

    messages: str = "messages"
    """Column of the list of messages."""
    functions: str = "functions"
    """Column of tools without their envelope, as they once were; read where `tools` has none."""
    role_tag: str = "role"
    """Key of a message's role."""
    content_tag: str = "content"
    """Key of a message's text or parts."""
    user_tag: str = "user"
    """Role of the user."""
    assistant_tag: str = "assistant"
    """Role of the assistant."""
    observation_tag: str = "tool"
    """Role of what a tool answered."""
    function_tag: str = "function_call"
    """Role of an assistant's call of tools whose text is JSON with `name` and `arguments`."""
    system_tag: str = "system"
    """Role of the system message."""
