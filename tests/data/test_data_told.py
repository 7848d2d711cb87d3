"""What users are told: of damaged files, of rows that all went, of arguments, and of what a terminal would obey."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, chat, write_jsonl
from pydantic import ValidationError

from fastft.cli.data.preview import printable
from fastft.config.kinds import STAGES
from fastft.core.errors import DataError
from fastft.core.events import Bus
from fastft.data import Finding, check, load


def test_a_damaged_file_hides_nothing_of_the_others(kitchen: Kitchen, tmp_path: Path) -> None:
    packed = tmp_path / "cut.jsonl.gz"
    rows = "".join(f'{{"prompt": "{n}", "completion": "{n * 7919}"}}\n' for n in range(4000))
    packed.write_bytes(gzip.compress(rows.encode())[:-2000])
    bad = tmp_path / "bad.jsonl"
    write_jsonl(bad, [chat("q", "a")])
    bad.write_text(bad.read_text() + "broken\n")
    found: list[Finding] = []
    stage = STAGES.get("sft")
    assert stage is not None
    config = kitchen.config(packed, bad)
    checked = check(config, stage(), found=found.append, cache=kitchen.cache, bus=Bus())
    assert [each["name"] for each in checked] == ["cut.jsonl", "bad"]
    assert "E_JSON" in [finding.code for finding in found]
    assert any("cut.jsonl.gz" in f"{finding.file} {finding.reason}" for finding in found)
    assert checked[1]["read"] == 2
    assert checked[0]["bad"]


def test_what_left_no_row_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "a.jsonl", [chat("q", "a")])
    with pytest.raises(DataError, match=r"1 left out by rules \(length") as caught:
        kitchen.prepare(rows, clean={"length": {"min_chars": 5000}})
    assert "data.clean" in str(caught.value)
    with pytest.raises(DataError, match=r"longer than `data\.max_length`") as caught:
        kitchen.prepare(rows, max_length=8)
    assert "raise `data.max_length`" in str(caught.value)
    empty = tmp_path / "e.jsonl"
    empty.write_text("\n")
    source = {"path": str(empty), "format": {"kind": "openai"}}
    with pytest.raises(DataError, match="there is no row in the files"):
        kitchen.prepare(source)
    with pytest.raises(ValidationError, match="no row would be left"):
        kitchen.config(rows, clean={"length": {"min_chars": 50, "max_chars": 10}})


def test_too_long_rows_that_end_a_run_are_not_said_to_be_set_aside(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "a.jsonl", [chat("q" * 400, "a")])
    with pytest.raises(DataError) as caught:
        kitchen.prepare(rows, truncate="error")
    assert "on_bad" not in str(caught.value)


def test_a_found_format_is_told_in_words_that_a_config_takes(kitchen: Kitchen, tmp_path: Path) -> None:
    heard = Heard()
    kitchen.prepare(write_jsonl(tmp_path / "a.jsonl", [chat("q", "a")]), heard=heard)
    (told,) = [event for event in heard.events if event.event == "warned" and event.code == "data.format-found"]
    assert told.hint == 'name it to be sure: format = {kind = "openai", messages = "messages"}'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"windows": 0}, "windows is 0"),
        ({"windows": -1}, "windows is -1"),
        ({"split": "foo"}, "split is 'foo'"),
        ({"rank": 2, "world": 2}, "no rank 2 of 2"),
    ],
)
def test_load_refuses_arguments_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load("a.toml", **options)
    with pytest.raises(TypeError, match="config is a dict"):
        load({"data": {}})  # type: ignore[arg-type]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\n\tc\x9b") == "a\\x1b[2Jb\\x0d\n\tc\\x9b"


def test_brackets_in_a_pattern_are_told_at_once(kitchen: Kitchen, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no part of a pattern"):
        kitchen.prepare({"path": str(tmp_path / "shard-[01].jsonl")})
