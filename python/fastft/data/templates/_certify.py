"""The comparison itself: the engine's rendering of the probes beside transformers'."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from fastft.data.engine import engine
from fastft.data.templates import probes

_CALL = re.compile(r"\bstrftime_now\s*\(")
_DATE = re.compile(r"""\bstrftime_now\s*\(\s*(?P<quote>["'])(?P<format>[^"'\\]*)(?P=quote)\s*\)""")


def render(
    source: str,
    special: dict[str, str],
    messages: list[dict[str, Any]],
    tools: Any,
    add_generation_prompt: bool,
    today: str | None = None,
) -> str:
    """Render as `apply_chat_template(tokenize=False)` does.

    `strftime_now` prints `today`, in ISO form, or the clock where that is absent.

    Raises:
        Exception: whatever the template raises.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    if today is not None:
        source = _pinned(source, datetime.datetime.fromisoformat(today))
    tokens: dict[str, Any] = dict(special)
    rendered: Any = render_jinja_template(
        conversations=[messages],
        tools=tools,
        chat_template=source,
        add_generation_prompt=add_generation_prompt,
        **tokens,
    )
    text: str = rendered[0][0]
    return text


def _pinned(source: str, moment: datetime.datetime) -> str:
    """The source with every date it prints as text: transformers lets no function in beside its own.

    Raises:
        ValueError: a date is printed in a format that is not a literal.
    """
    pinned = _DATE.sub(lambda call: json.dumps(moment.strftime(call["format"]), ensure_ascii=False), source)
    if _CALL.search(pinned):
        raise ValueError("the template prints the date in a format that is no literal, so it can't be pinned")
    return pinned


def difference(source: str, reference: str, special: dict[str, str]) -> str | None:
    """Say how the engine's rendering of `source` first differs from transformers' of `reference`; None if nowhere."""
    today = datetime.datetime.now().isoformat(timespec="seconds")
    try:
        template = engine().ChatTemplate(source, special, today)
    except ValueError as error:
        if not compiles(reference):
            return f"syntax: {error}"
        return f"the engine can't compile it: {error}"
    for number, conversation in enumerate(probes.conversations()):
        row = json.dumps(conversation, ensure_ascii=False)
        for prompt in (False, True):
            expected = _or_error(
                render, reference, special, conversation["messages"], conversation.get("tools"), prompt
            )
            got = _or_error(template.render, row, prompt)
            if expected != got:
                at = _first_difference(got, expected)
                return (
                    f"probe {number} reads differently: {_shown(got, at)} where transformers has {_shown(expected, at)}"
                )
    return None


def compiles(source: str) -> bool:
    """Whether transformers can compile a template."""
    import jinja2

    try:
        render(source, {}, [{"role": "user", "content": "a"}], None, False)
    except jinja2.TemplateSyntaxError:
        return False
    except Exception:
        return True  # it compiles, and refuses this conversation
    return True


def _or_error(function: Any, *arguments: Any) -> str | None:
    """The text, or None for a refusal: two engines word their errors differently."""
    try:
        text: str = function(*arguments)
    except Exception:  # a template may raise anything
        return None
    return text


def _first_difference(ours: str | None, theirs: str | None) -> int:
    pairs = zip(ours or "", theirs or "", strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(ours or ""), len(theirs or "")))


def _shown(text: str | None, at: int) -> str:
    """A text from a little before the difference on."""
    return "a refusal" if text is None else repr(text[max(0, at - 30) : at + 60])
