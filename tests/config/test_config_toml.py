"""Places of keys and values, against tomllib's reading of the same text."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft.config.toml import dotted, parse
from fastft.core.errors import ConfigError

TEXT = '''# a comment with "quotes" and [brackets]
name = "x # no comment" # hi
a.b.c = 1
"q.r" = [1, 2, [3, "4#,]"],  # within
  { x = 1, y = { z = "}" } },
]
[model]
path = """multi ""quoted\\"""
line"""
s = \'\'\'it's ''fine\'\'\'
[[data.train]]
path = "p"
format = { kind = "alpaca" }
[data.train.extra]
when = 2024-01-01 10:00:00
[[data.train]]
  path = 'C:\\q'
[[data.train.sub]]
a = 1
[[data.train.sub]]
a = -2.5e-3
[ opt . "x y" ]
lr = 1e-4
'''


def leaves(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Every value that is no container, by path."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {path: value}
    return {inner: leaf for name, item in items for inner, leaf in leaves(item, (*path, name)).items()}


def check_places(text: str) -> None:
    """Each leaf's place must hold text that reads as that leaf."""
    document = parse(text, "f.toml")
    lines = text.split("\n")
    assert document.values == tomllib.loads(text)
    for path, value in leaves(document.values).items():
        here = document.spots[path].value
        assert here.line is not None
        rest = "\n".join([lines[here.line - 1][here.column - 1 :], *lines[here.line :]])
        shown = rest[: here.width] if "\n" not in str(value) else rest[: rest.index('"""', 3) + 3]
        assert tomllib.loads(f"x = {shown}")["x"] == value, path
        key = document.spots[path].key
        assert key.text == lines[key.line - 1]  # type: ignore[operator]


def test_every_place_holds_the_value_that_is_there() -> None:
    check_places(TEXT.replace('multi ""quoted\\"""\nline', "multi\nline"))


def test_keys_are_marked_as_they_are_written() -> None:
    spots = parse(TEXT, "f.toml").spots
    key = spots["opt", "x y", "lr"].key
    assert (key.line, key.column, key.width, key.source) == (23, 1, 2, "f.toml")
    assert spots["a", "b", "c"].key.width == len("a.b.c")
    assert spots["data", "train", 1].key.line == 16
    assert spots["data", "train", 1, "sub", 1, "a"].value.line == 21
    assert spots["opt", "x y"].key.text == '[ opt . "x y" ]'


KEY = st.text("abcxyz_-09", min_size=1, max_size=6) | st.text(min_size=1, max_size=4).filter(
    lambda text: text.isprintable() and "\\" not in text and '"' not in text
)
SCALAR = (
    st.integers(-(10**9), 10**9) | st.booleans() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=6
)


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{dotted((k,))} = {as_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ",\n".join(as_toml(v) for v in value) + " ]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(KEY, VALUE, max_size=4), st.dictionaries(KEY, st.dictionaries(KEY, VALUE, max_size=3), max_size=3)
)
def test_places_are_right_for_any_tables(top: dict[str, Any], tables: dict[str, dict[str, Any]]) -> None:
    lines = [
        f"{dotted((name,))}   = {as_toml(value)} # {{ comment" for name, value in top.items() if name not in tables
    ]
    for name, table in tables.items():
        lines += ["", f"[{dotted((name,))}]", *(f"\t{dotted((k,))}={as_toml(v)}" for k, v in table.items())]
    check_places("\n".join(lines) + "\n")


def test_windows_line_ends_and_a_byte_order_mark_are_no_trouble() -> None:
    document = parse("\ufeffa = 1\r\n[t]\r\nb = 2\r\n", "f")
    assert document.values == {"a": 1, "t": {"b": 2}}
    assert document.spots["t", "b"].key.text == "b = 2"


@settings(max_examples=300, deadline=None)
@given(st.text("ab=[]{}\"'#\n\\.,: 1tru", max_size=40))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text, "f")
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.origin is not None
        assert problem.origin.line is not None
        assert 1 <= problem.origin.line <= text.count("\n") + 1
        str(error)


@pytest.mark.parametrize(("text", "key", "line"), [("a=1\nb=2\na=3", "`a`", 3), ("[a]\nb=1\n[a]\nc=1", "`[a]`", 3)])
def test_a_key_given_twice_names_both_lines(text: str, key: str, line: int) -> None:
    with pytest.raises(ConfigError, match=r"the first is on line 1") as caught:
        parse(text, "f")
    assert key in str(caught.value)
    assert f"f:{line}" in str(caught.value)
