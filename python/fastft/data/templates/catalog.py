"""Built-in templates: a TOML file each, by name and by the other names that people know.

A template whose turns are texts around contents is described by them:

    system, user, tool   a turn of that role; `{content}`, `{bos}` and `{eos}` stand for themselves
    prompt               what asks for an answer, and stands before each one
    answer               what is trained: the content and the token that ends it
    after                behind an answer, not trained
    begin                before everything
    default_system       the system message of a conversation without one; absent means no such turn
    system_in = "user"   the system message stands in the first question, before its content
    trim = true          contents lose the whitespace around them
    closed_by            the token that begins the next question ends an answer: it is trained there,
                         and stands once
    like                 another template, of which the rest is taken

and one that does more (tools, thinking) by a `.jinja` file of the same name. `end` names the tokens
that end an answer. All are our own texts: only the formats are the models'.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class BuiltinTemplate:
    """A row of the table of templates.

    Attributes:
        name: as the config has it.
        aliases: other names for it.
        end: tokens that end an answer; `{eos}` is the tokenizer's own.
        default_system: the system message of a conversation without one, None for none.
        tools: whether tools and their calls are printed.
        thinking: whether thinking in a field of its own is printed.
        note: which models it is of, and what it leaves out.
    """

    name: str
    aliases: tuple[str, ...]
    end: tuple[str, ...]
    default_system: str | None
    tools: bool
    thinking: bool
    note: str


def table() -> list[BuiltinTemplate]:
    """All built-in templates, by name."""
    return [
        BuiltinTemplate(
            name=name,
            aliases=tuple(fields.get("aliases", ())),
            end=tuple(fields["end"]),
            default_system=fields.get("default_system"),
            tools=fields.get("tools", False),
            thinking=fields.get("thinking", False),
            note=fields["note"],
        )
        for name, fields in _descriptions().items()
    ]


def builtin() -> list[str]:
    """Names of the built-in templates, sorted."""
    return sorted(_descriptions())


def resolve(name: str) -> str | None:
    """The name of the built-in template that `name` or an alias means; None for no such one."""
    wanted = name.lower()
    for known, fields in _descriptions().items():
        if wanted == known or wanted in fields.get("aliases", ()):
            return known
    return None


def every_name() -> list[str]:
    """Names and aliases, for guesses at what was meant."""
    return [name for row in table() for name in (row.name, *row.aliases)]


def source(name: str) -> str:
    """Jinja text of a built-in template.

    Raises:
        KeyError: `name` is not one of `builtin()`.
    """
    path = FOLDER / f"{name}.jinja"
    return path.read_text(encoding="utf-8") if path.is_file() else _jinja(name, _descriptions()[name])


@functools.cache
def _descriptions() -> dict[str, dict[str, Any]]:
    read = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.toml"))}

    def whole(name: str) -> dict[str, Any]:
        fields = read[name]
        if "like" not in fields:
            return fields
        inherited = {key: value for key, value in whole(fields["like"]).items() if key != "aliases"}
        return inherited | fields

    return {name: whole(name) for name in read}


def _jinja(name: str, slots: dict[str, Any]) -> str:
    """The Jinja text of a template that is described by its turns."""
    trim = " | trim" if slots.get("trim") else ""
    closed_by: str = slots.get("closed_by", "")
    in_user = slots.get("system_in") == "user"
    system = "none" if slots.get("default_system") is None else _text(slots["default_system"])
    prompt = slots["prompt"]
    question = slots["user"].removeprefix(closed_by)
    lines = [
        f"{{#- {name}: {slots['note']} -#}}",
        f"{{%- set system = {system} %}}",
        "{%- set turns = messages %}",
        "{%- if messages and messages[0].role == 'system' %}",
        f"    {{%- set system = messages[0].content{trim} %}}",
        "    {%- set turns = messages[1:] %}",
        "{%- endif %}",
        "{%- if tools %}",
        f"    {{{{- raise_exception('the template `{name}` prints no tools') }}}}",
        "{%- endif %}",
        *_print(slots.get("begin", ""), "content"),
    ]
    if not in_user and "system" in slots:
        lines += ["{%- if system is not none %}", *_print(slots["system"], "system"), "{%- endif %}"]
    lines += [
        "{%- for message in turns %}",
        "    {%- if message.role == 'user' %}",
        f"        {{%- set content = message.content{trim} %}}",
    ]
    if in_user:
        lines += [
            "        {%- if loop.first and system is not none %}",
            f"            {{%- set content = {_expression(slots['system'], 'system')} + content %}}",
            "        {%- endif %}",
        ]
    if closed_by:  # printed by the answer before
        lines += [
            "        {%- if loop.first or turns[loop.index0 - 1].role != 'assistant' %}",
            *_print(closed_by, "content"),
            "        {%- endif %}",
        ]
    lines += [
        *_print(question, "content"),
        "    {%- elif message.role == 'assistant' %}",
        *_print(prompt, "content"),
        "        {%- generation %}",
        *_print(slots["answer"] + closed_by, f"(message.content{trim})"),
        "        {%- endgeneration %}",
        *_print(slots.get("after", ""), "content"),
    ]
    if "tool" in slots:
        lines += ["    {%- elif message.role == 'tool' %}", *_print(slots["tool"], f"(message.content{trim})")]
    if "system" in slots and not in_user:
        lines += [
            "    {%- elif message.role == 'system' %}",
            *_print(slots["system"], f"(message.content{trim})"),
        ]
    lines += [
        "    {%- else %}",
        f"        {{{{- raise_exception('the template `{name}` has no role `' + message.role + '` there') }}}}",
        "    {%- endif %}",
        "{%- endfor %}",
    ]
    if prompt:
        lines += ["{%- if add_generation_prompt %}", *_print(prompt, "content"), "{%- endif %}"]
    return "\n".join(lines) + "\n"


def _print(text: str, content: str) -> list[str]:
    """A line that prints a slot; none for an empty one."""
    return [f"        {{{{- {_expression(text, content)} }}}}"] if text else []


def _expression(text: str, content: str) -> str:
    """A slot as a Jinja expression: literals and values, joined by `+`."""
    values = {"{content}": content, "{bos}": "bos_token", "{eos}": "eos_token"}
    parts: list[str] = []
    while text:
        at, mark = min(((text.find(mark), mark) for mark in values if mark in text), default=(len(text), ""))
        if at:
            parts.append(_text(text[:at]))
        if mark:
            parts.append(values[mark])
        text = text[at + len(mark) :]
    return " + ".join(parts)


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
