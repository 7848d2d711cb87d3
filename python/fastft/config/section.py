"""The base of every table in a config file.

A `Section` is a frozen pydantic model that refuses unknown keys; the string under a field is
its documentation (read by `config/fields.py` when somebody asks, since parsing source text at
import would cost every command 40 ms). A `Member` is a table chosen by its `kind` key from a
family, and `OneOf` is the type of a field that holds one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from fastft.core.errors import Problem
from fastft.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastft.config.schema import RunConfig


class Section(BaseModel):
    """A table of a config file: typed, frozen, closed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, validate_default=False, allow_inf_nan=False
    )


class Member(Section):
    """A table chosen by its `kind` key from a family; the class keyword names it."""

    family: ClassVar[Registry[Any]]
    kind: ClassVar[str]

    def __init_subclass__(cls, *, kind: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if kind is not None:
            cls.kind = kind
            cls.family.add(kind, cls)

    def conflicts(self, run: RunConfig) -> Iterable[Problem]:
        """What in the rest of the config can't go with this choice."""
        return ()


class OneOf:
    """The field type `Annotated[Interface, OneOf(FAMILY)]`: a table with a `kind` key, or a list of such tables."""

    def __init__(self, family: Registry[Any]) -> None:
        self.family = family

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        self._optional = type(None) in get_args(source)
        one = core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._serialize),
        )
        return core_schema.list_schema(one) if get_origin(source) is list else one

    def _validate(self, value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
        if isinstance(value, Member) or (value is None and self._optional):
            return value
        if isinstance(value, str):  # `optimizer = "adamw"` is `{ kind = "adamw" }`
            value = {"kind": value}
        if not isinstance(value, dict):
            raise PydanticCustomError("table_expected", "expected a table with a `kind` key")
        rest = dict(value)
        kind = rest.pop("kind", None)
        if kind is None:
            raise PydanticCustomError("kind_missing", "`kind` is missing", {"kinds": self.family.names()})
        member = self.family.get(kind) if isinstance(kind, str) else None
        if member is None:
            raise PydanticCustomError(
                "kind_unknown",
                "no {noun} is called `{kind}`",
                {"noun": self.family.noun, "kind": str(kind), "kinds": self.family.names()},
            )
        if info.mode == "json":  # from a file: no text for a number, but a list for a tuple, as JSON has it
            return member.model_validate_json(json.dumps(rest), strict=True)
        return member.model_validate(rest)

    @staticmethod
    def _serialize(value: Member | None) -> dict[str, Any] | None:
        return None if value is None else {"kind": value.kind, **value.model_dump()}

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A mark only; `config/jsonschema.py` puts the members in its place."""
        return {"type": "object", "title": self.family.noun}
