"""What a key means: its type, limits, default, documentation and kinds, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastft.config.dump import toml_value
from fastft.config.fields import UNSET, Key, docs, keys, summary
from fastft.config.schema import RunConfig
from fastft.config.section import Section
from fastft.core.errors import ConfigError, Problem
from fastft.core.registry import closest


@dataclass(frozen=True)
class Entry:
    """One key of one table, ready to print.

    Attributes:
        path: dotted, without list indices: `data.train.path`.
        kind: the kind of the table that has this key; None when the table has one shape.
        type: in a reader's words, with limits.
        default: as TOML; None when the key must be given or is off when absent.
        required: whether it must be given.
        doc: one paragraph.
        kinds: for a table with `kind`: each name with its first sentence.
        example: a line for a file.
    """

    path: str
    kind: str | None
    type: str
    default: str | None
    required: bool
    doc: str
    kinds: tuple[tuple[str, str], ...]
    example: str


def explain(path: str) -> list[Entry]:
    """The entries that a dotted key means: itself, and what is directly below it.

    Raises:
        ConfigError: there is no such key; with the nearest.
    """
    wanted = ".".join(part for part in path.split(".") if not part.isdigit())
    known = list(entries())
    found = [entry for entry in known if entry.path == wanted]
    below = [entry for entry in known if entry.path.rpartition(".")[0] == wanted and wanted]
    if wanted.endswith(".kind"):
        found = [entry for entry in known if entry.path == wanted.removesuffix(".kind") and entry.kinds]
    if not found:
        names = sorted({entry.path for entry in known})
        last = wanted.rpartition(".")[2]
        same = [name for name in names if name.rpartition(".")[2] == last]
        near = same or [name for name in [closest(wanted, names)] if name]
        hint = (
            f"did you mean {', '.join(f'`{name}`' for name in near)}?"
            if near
            else "`fastft config explain --all` lists all"
        )
        raise ConfigError([Problem("config.unknown-key", None, f"there is no key `{path}`", hint)])
    return found + below


def entries() -> Iterator[Entry]:
    """Every key of every table, of every kind that is installed, in file order."""
    yield from _entries(RunConfig, "", None)


def _entries(section: type[Section], prefix: str, kind: str | None) -> Iterator[Entry]:
    told = docs(section)
    tables = []
    for name, key in keys(section).items():
        path = f"{prefix}{name}"
        entry = _entry(path, key, kind, told.get(name, ""))
        if key.section is None and key.one_of is None:
            yield entry
        else:
            tables.append((path, key, entry))
    for path, key, entry in tables:
        yield entry
        if key.one_of is not None:
            for member_kind, member in key.one_of.family:
                yield from _entries(member, f"{path}.", member_kind)
        elif key.section is not None:
            yield from _entries(key.section, f"{path}.", kind)


def _entry(path: str, key: Key, kind: str | None, doc: str) -> Entry:
    kinds: tuple[tuple[str, str], ...] = ()
    if key.one_of is not None:
        kinds = tuple((name, summary(member)) for name, member in key.one_of.family)
        example = f'{key.name} = {{ kind = "{kinds[0][0]}" }}' if kinds else f"{key.name} = {{ ... }}"
        example = f"[[{path}]]" if key.is_list else example
    elif key.section is not None:
        example = f"[[{path}]]" if key.is_list else f"[{path}]"
    else:
        example = f"{key.name} = {_example(key)}"
    limits = f", {key.limits}" if key.limits else ""
    plain = key.section is None and key.default is not UNSET and key.default is not None
    default = toml_value(key.default) if plain else None
    return Entry(path, kind, key.type_name + limits, default, key.default is UNSET, doc, kinds, example)


def _example(key: Key) -> str:
    if key.default is not UNSET and key.default is not None:
        return toml_value(key.default)
    samples = {"text": '"..."', "number": "0.1", "whole number": "8", "true or false": "true"}
    return samples.get(key.type_name, key.type_name.split(" or ")[0])


def markdown() -> str:
    """The reference page: a section a table, a line a key."""
    lines = ["# Every key of a config", "", "Made by `fastft config explain --all --markdown`.", ""]
    current: tuple[str, str | None] | None = None
    for entry in entries():
        table = entry.path.rpartition(".")[0]
        is_table = entry.kinds or entry.type.endswith(("table", "tables"))
        if is_table:
            name = f"[[{entry.path}]]" if entry.type.startswith("list of tables") else f"[{entry.path}]"
            lines += ["", f"## `{name}`", "", entry.doc, ""]
            lines += [f"- `{kind}`: {doc}" for kind, doc in entry.kinds]
            current = (entry.path, None)
            continue
        if (table, entry.kind) != current:
            if entry.kind is not None:
                lines += ["", f'### `{table}`, `kind = "{entry.kind}"`', ""]
            lines += ["| key | type | default | |", "| --- | --- | --- | --- |"]
            current = (table, entry.kind)
        elif lines[-1] == "" or not lines[-1].startswith("|"):
            lines += ["| key | type | default | |", "| --- | --- | --- | --- |"]
        default = "must be given" if entry.required else f"`{entry.default}`" if entry.default else ""
        lines.append(f"| `{entry.path.rpartition('.')[2]}` | {entry.type} | {default} | {entry.doc} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"
