"""`fastft data templates`: what can be named in `data.template`."""

from __future__ import annotations

import json

from click.testing import CliRunner

from fastft.cli.data.templates import command


def invoke(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def test_the_list_has_names_ends_and_what_templates_can() -> None:
    lines = invoke().output.splitlines()
    assert lines[0].split() == ["name", "also", "end", "can", "of"]
    (qwen3,) = [line for line in lines if line.startswith("qwen3 ")]
    assert "<|im_end|>" in qwen3
    assert "tools, thinking" in qwen3


def test_json_is_a_list_of_the_same_rows() -> None:
    rows = json.loads(invoke("--json").output)
    assert len(rows) >= 40
    assert {"name", "aliases", "end", "default_system", "tools", "thinking", "note"} == set(rows[0])


def test_a_name_or_an_alias_prints_the_template() -> None:
    assert invoke("llama3.1").output == invoke("llama3").output
    assert "{%- generation %}" in invoke("zephyr").output


def test_an_unknown_name_is_an_error_with_a_guess() -> None:
    done = invoke("zephir")
    assert done.exit_code != 0
    assert "did you mean `zephyr`?" in done.exception.hint
