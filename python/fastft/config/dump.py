"""RunConfig -> TOML: every key that has a value, resolved, with where it came from when asked.

Reading the text gives an equal config again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastft.config.fields import keys
from fastft.config.schema import RunConfig
from fastft.config.section import Member, Section
from fastft.config.toml import dotted, quoted
from fastft.core.errors import Origin


def dump(config: RunConfig, origins: Mapping[str, Origin] | None = None) -> str:
    """Write a config as TOML.

    Args:
        config: what to write.
        origins: when given, each line says in a comment where its value was written, or `default`.
    """
    tables = list(_tables(config, ""))
    width = max((len(line) for _, lines in tables for _, line in lines), default=0)
    blocks = []
    for header, lines in tables:
        block = [header] if header else []
        for key, line in lines:
            block.append(line if origins is None else f"{line:<{min(width, 44)}}  # {origin_of(key, origins)}")
        blocks.append("\n".join(block))
    return "\n\n".join(blocks) + "\n"


def rows(config: RunConfig, origins: Mapping[str, Origin]) -> list[tuple[str, Any, str]]:
    """Every key in file order: dotted key, value, where it came from."""
    return [
        (key, json.loads(json.dumps(_at(config, key))), origin_of(key, origins))
        for _, lines in _tables(config, "")
        for key, _ in lines
    ]


def origin_of(key: str, origins: Mapping[str, Origin]) -> str:
    """`run.toml:22`, `--set` or `default`; an inline table counts as one value."""
    own = origins.get(key) or origins.get(key.removesuffix(".kind"))
    if own is None:
        own = next((origin for name, origin in origins.items() if name.startswith(f"{key}.")), None)
    if own is None:
        return "default"
    return "--set" if own.source.startswith("--set ") else str(own)


def toml_value(value: Any) -> str:
    """A value as TOML on one line; tables are inline and without what is None."""
    if isinstance(value, Member):
        return toml_value({"kind": value.kind, **_held(value)})
    if isinstance(value, Section):
        return toml_value(_held(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{dotted((name,))} = {toml_value(item)}" for name, item in value.items() if item is not None)
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def _tables(section: Section, prefix: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Header and lines of this table, then of the tables in it."""
    lines: list[tuple[str, str]] = []
    below: list[tuple[str, Section]] = []
    if isinstance(section, Member):
        lines.append((f"{prefix}kind", f"kind = {toml_value(section.kind)}"))
    for name, value in _held(section).items():
        key = keys(type(section))[name]
        path = f"{prefix}{name}"
        if isinstance(value, Section) and not prefix:
            below.append((f"{path}.", value))
        elif key.is_list and value:
            below += [(f"{path}.{index}.", item) for index, item in enumerate(value)]
        elif not key.is_list:
            lines.append((path, f"{name} = {toml_value(value)}"))
    if prefix and not prefix[:-1].rpartition(".")[2].isdigit():
        header = f"[{prefix[:-1]}]"
    else:
        header = f"[[{prefix[:-1].rpartition('.')[0]}]]" if prefix else ""
    yield header, lines
    for inner, value in below:
        yield from _tables(value, inner)


def _held(section: Section) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name in keys(type(section)) if (value := vars(section)[name]) is not None}


def _at(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[int(part)] if part.isdigit() else value.kind if part == "kind" else vars(value)[part]
    if isinstance(value, Member):
        return {"kind": value.kind, **_held(value)}
    return value
