"""The JSON schema of a config file, for editors: completion, types and documentation.

A file that begins with `#:schema fastft.schema.json` is completed as it is written (Taplo, Even
Better TOML). The committed copy is `configs/fastft.schema.json`; a test holds it to this.
"""

from __future__ import annotations

import json
from typing import Any

from fastft.config.fields import UNSET, docs, keys, summary
from fastft.config.schema import RunConfig
from fastft.config.section import Section


def schema() -> dict[str, Any]:
    """The schema of `RunConfig` with all members that are installed."""
    table = _table(RunConfig)
    extends = {"type": "string", "description": "Another config file that this one stands on, relative to it."}
    table["properties"] = {"extends": extends, **table["properties"]}
    # A file may leave a required table to the file that it extends.
    required = table.pop("required")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "fastft config",
        **table,
        "anyOf": [{"required": required}, {"required": ["extends"]}],
    }


def schema_text() -> str:
    """The schema as the committed file has it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _table(section: type[Section], kind: str | None = None) -> dict[str, Any]:
    leaves = section.model_json_schema()["properties"] if section.model_fields else {}
    told = docs(section)
    properties: dict[str, Any] = {} if kind is None else {"kind": {"const": kind, "description": summary(section)}}
    required = [] if kind is None else ["kind"]
    for name, key in keys(section).items():
        if key.one_of is not None:
            members = [_table(member, member_kind) for member_kind, member in key.one_of.family]
            entry: dict[str, Any] = {"oneOf": [{"type": "string", "enum": key.one_of.family.names()}, *members]}
            entry = {"type": "array", "items": entry} if key.is_list else entry
        elif key.section is not None:
            inner = _table(key.section)
            entry = {"type": "array", "items": inner} if key.is_list else inner
        else:
            entry = {word: value for word, value in leaves[name].items() if word not in ("title", "description")}
            entry = _without_null(entry)
        if name in told:
            entry = {"description": told[name], **{word: v for word, v in entry.items() if word != "description"}}
        if key.default is UNSET:
            required.append(name)
        properties[name] = entry
    table: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if kind is not None:
        table["title"] = kind
    if summary(section):
        table["description"] = summary(section)
    return {**table, "properties": properties, "required": required}


def _without_null(entry: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: absent means off."""
    if entry.get("default", UNSET) is None:
        del entry["default"]
    if "anyOf" in entry:
        kept = [option for option in entry.pop("anyOf") if option.get("type") != "null"]
        entry = {**kept[0], **entry} if len(kept) == 1 else {"anyOf": kept, **entry}
    return entry
