"""What may stand in a config, as data: each key with its type, default and documentation.

Error messages, `config explain`, `config dump` and the JSON schema all ask here, so they can't
disagree. Documentation is the string below a field, read from the class's source on demand.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from fastft.config.section import OneOf, Section

UNSET: Any = PydanticUndefined
"""The default of a key that must be given."""


@dataclass(frozen=True)
class Key:
    """One key of a table.

    Attributes:
        name: as it is written.
        annotation: the field's Python type, without what `Annotated` adds.
        metadata: what `Annotated` adds: bounds, validators, `OneOf`.
        default: its value when absent; `UNSET` when it must be given.
        one_of: the family, when the value is a table with a `kind`.
        section: the table's class, when the value is a table (or a list of them) of fixed shape.
        is_list: whether the value is a list of tables.
    """

    name: str
    annotation: Any
    metadata: tuple[Any, ...]
    default: Any
    one_of: OneOf | None
    section: type[Section] | None
    is_list: bool

    @property
    def type_name(self) -> str:
        """The type in a reader's words: `whole number`, `"auto" or "sdpa"`, `table`."""
        if self.one_of is not None:
            return "list of tables with `kind`" if self.is_list else "table with `kind`"
        if self.section is not None:
            return "list of tables" if self.is_list else "table"
        return _type_name(self.annotation)

    @property
    def limits(self) -> str:
        """Bounds such as `> 0`, in words; empty when there are none."""
        signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
        found = [
            f"{sign} {_plain(getattr(item, name))}"
            for item in self.metadata
            for name, sign in signs.items()
            if getattr(item, name, None) is not None
        ]
        return ", ".join(found)


@functools.cache
def keys(section: type[Section]) -> dict[str, Key]:
    """The keys of a table, in the order they are defined."""
    found = {}
    for name, info in section.model_fields.items():
        family = next((item for item in info.metadata if isinstance(item, OneOf)), None)
        inner, is_list = _inner(info.annotation)
        default = info.get_default(call_default_factory=True, validated_data={})
        found[name] = Key(
            name, info.annotation, tuple(info.metadata), default, family, inner, is_list and inner is not None
        )
    return found


def class_at(root: type[Section], path: tuple[str | int, ...], tree: Any) -> type[Section] | None:
    """The class of the table at `path`, following `kind` in `tree`; None where there is no table."""
    current: type[Section] | None = root
    rest = list(path)
    while rest:
        if current is None:
            return None
        name = rest.pop(0)
        key = keys(current).get(str(name))
        if key is None:
            return None
        tree = tree.get(name) if isinstance(tree, dict) else None
        if key.is_list and rest and isinstance(rest[0], int):
            index = int(rest.pop(0))
            tree = tree[index] if isinstance(tree, list) and index < len(tree) else None
        if key.one_of is not None:
            kind = tree.get("kind") if isinstance(tree, dict) else tree
            current = key.one_of.family.get(kind) if isinstance(kind, str) else None
        else:
            current = key.section
    return current


@functools.cache
def docs(section: type[Section]) -> dict[str, str]:
    """The documentation of each key: the string literal below its definition, in the class or a base."""
    found: dict[str, str] = {}
    for owner in reversed(section.__mro__):
        if owner is Section or not (isinstance(owner, type) and issubclass(owner, Section)):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError, SyntaxError):  # a class made in a console has no source
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, below in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[field.target.id] = inspect.cleandoc(below.value.value).replace("\n", " ")
    for name, key in keys(section).items():
        if name not in found and key.section is not None and key.section.__doc__:
            found[name] = inspect.cleandoc(key.section.__doc__).split("\n\n")[0].replace("\n", " ")
    return {name: found[name] for name in keys(section) if name in found}


def summary(section: type[Section]) -> str:
    """The first sentence of a table's own documentation."""
    return inspect.cleandoc(section.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _inner(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The Section inside `Section`, `Section | None` or `list[Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    origin = get_origin(annotation)
    if origin is list:
        return _inner(get_args(annotation)[0])[0], True
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            if part is not type(None) and (found := _inner(part))[0] is not None:
                return found
    return None, False


def _type_name(annotation: Any) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return or_list([f'"{arg}"' for arg in args])
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(arg) for arg in args if arg is not type(None))
    if origin in (list, tuple):
        inner = {_type_name(arg) for arg in args if arg is not Ellipsis}
        length = f"{len(args)} " if origin is tuple and Ellipsis not in args else ""
        return f"list of {length}{' or '.join(sorted(inner))}s"
    if hasattr(annotation, "__metadata__"):
        return _type_name(args[0])
    return str(getattr(annotation, "__name__", annotation))


def or_list(words: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else ""


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
