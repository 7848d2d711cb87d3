"""The exceptions and how problems read."""

from __future__ import annotations

import pickle

import pytest

from fastft.core import errors
from fastft.core.errors import ConfigError, DataError, FastftError, Origin, Problem, render


def test_a_problem_without_a_place_is_one_line() -> None:
    assert render([Problem("x.y", None, "it is wrong")]) == "error[x.y]: it is wrong"


def test_carets_stand_under_what_is_meant() -> None:
    origin = Origin("f.toml", 7, "rank = -1", 8, 2)
    assert render([Problem("c", "rank", "no", "raise it", origin)]).split("\n") == [
        "error[c]: no",
        "  --> f.toml:7",
        "  |",
        "7 | rank = -1",
        "  |        ^^",
        "hint: raise it",
    ]


def test_carets_count_wide_characters_twice() -> None:
    lines = errors.excerpt(Origin("f", 1, "a = '名字', b", 11, 1))
    assert lines[-1] == "  | " + " " * 12 + "^"


def test_a_tab_is_one_column_and_a_control_character_never_reaches_the_terminal() -> None:
    lines = errors.excerpt(Origin("f", 1, "\ta = \x1b[31m", 2, 1))
    assert lines[1] == "1 |  a = \ufffd[31m"
    assert lines[2] == "  |  ^"


@pytest.mark.parametrize("column", [1, 100, 290])
def test_a_long_line_is_cut_around_what_is_meant(column: int) -> None:
    text = "x" * (column - 1) + "HERE" + "x" * (300 - column)
    lines = errors.excerpt(Origin("f", 1, text, column, 4))
    assert all(len(line) < 80 for line in lines)
    begin, end = lines[2].index("^"), lines[2].rindex("^") + 1
    assert lines[1][begin:end] == "HERE"


def test_each_class_has_the_exit_code_that_scripts_rely_on() -> None:
    codes = {kind.__name__: kind.exit_code for kind in FastftError.__subclasses__()}
    assert codes == {
        "NotFoundError": 2,
        "ConfigError": 3,
        "DataError": 4,
        "ModelError": 5,
        "ResourceError": 5,
        "UnsupportedError": 5,
        "DivergedError": 6,
        "ResumeError": 7,
        "VerificationError": 8,
        "Preempted": 75,
    }


@pytest.mark.parametrize(
    "error",
    [
        ConfigError([Problem("a.b", "k", "m", "h", Origin("f", 1, "t", 1, 1))]),
        DataError("bad row", path="x.jsonl", line=3, code="data.row"),
        errors.ModelError("no model", hint="look", code="model.x"),
    ],
)
def test_errors_survive_the_way_to_another_process(error: FastftError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.problems == error.problems
    assert str(again) == str(error)


def test_a_data_error_shows_its_file_and_line() -> None:
    error = DataError("`messages` is empty", path="a.jsonl", line=12, code="E_EMPTY")
    assert str(error) == "error[E_EMPTY]: `messages` is empty\n  --> a.jsonl:12"
