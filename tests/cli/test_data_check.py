"""`fastft data check`: every bad row with its place, as it is found."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastft.config.load import load
from fastft.core.events import Bus
from fastft.data import Finding, check

GOOD = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
BAD = {
    2: '{"mesages": []}',
    4: '{"messages": 3}',
    5: "not json",
    7: '{"messages": [{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}]}',
}


def write(folder: Path, count: int = 9, bad: dict[int, str] | None = None) -> Path:
    bad = BAD if bad is None else bad
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{bad.get(line, GOOD)}\n" for line in range(1, count + 1)))
    return path


def found(folder: Path, *overrides: str) -> tuple[list[Finding], list[dict[str, Any]]]:
    loaded = load(folder / "run.toml", overrides)
    heard: list[Finding] = []
    sources = check(loaded.config.data, loaded.config.stage, found=heard.append, config_dir=loaded.folder, bus=Bus([]))
    return heard, sources


def test_each_bad_row_is_named_with_its_place_and_what_was_meant(fastft: Any) -> None:
    write(fastft.folder)
    answer = fastft("data", "check", "run.toml")
    assert answer.code == 4
    lines = answer.out.split("\n")
    assert lines[0] == (
        "rows.jsonl:2:messages: E_MISSING: `messages` is missing, expected a list of messages; did you mean `mesages`?"
    )
    assert lines[1] == "rows.jsonl:4:messages: E_TYPE: `messages` is a number, expected a list of messages"
    assert lines[2].startswith("rows.jsonl:5: E_JSON: not JSON: ")
    assert lines[3].startswith("rows.jsonl:7")
    assert "E_ROLE" in lines[3]
    assert "`asistant`" in lines[3]
    assert answer.out.endswith(
        "source  format         files  rows  can't be used\nrows    openai, found      1     9              4\n"
    )
    assert "9 rows in " in answer.err


def test_rows_of_an_array_on_one_line_are_told_by_their_number(fastft: Any) -> None:
    write(fastft.folder)
    rows = [{"instruction": "q", "output": "a"}, {"instruction": "q"}, {"instruction": "q", "output": 5}]
    (fastft.folder / "rows.json").write_text(json.dumps(rows))
    findings, _ = found(fastft.folder, "data.train.0.path=rows.json")
    assert [(each.line, each.reason.rpartition(" (")[2]) for each in findings] == [
        (1, "row 2 of the array)"),
        (1, "row 3 of the array)"),
    ]


def test_rows_in_order_are_no_error(fastft: Any) -> None:
    write(fastft.folder, bad={})
    answer = fastft("data", "check", "run.toml")
    assert answer.code == 0
    assert answer.out == (
        "source  format         files  rows  can't be used\nrows    openai, found      1     9              0\n"
    )


def test_json_is_one_object(fastft: Any) -> None:
    write(fastft.folder)
    answer = fastft("data", "check", "run.toml", "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["ok"]) == (4, False)
    assert told["errors"] == {"E_JSON": 1, "E_MISSING": 1, "E_ROLE": 1, "E_TYPE": 1}
    assert told["findings"][0] == {
        "source": "rows",
        "file": "rows.jsonl",
        "line": 2,
        "path": "messages",
        "code": "E_MISSING",
        "reason": "`messages` is missing, expected a list of messages; did you mean `mesages`?",
        "hint": None,
    }
    assert told["sources"][0]["read"] == 9


def test_many_errors_of_a_kind_are_counted_and_all_prints_them(fastft: Any) -> None:
    write(fastft.folder, 40, dict.fromkeys(range(10, 35), "{}"))
    short = fastft("data", "check", "run.toml").out
    assert short.count("E_MISSING: ") == 10
    assert "... and 15 more of the same kinds; --all prints them" in short
    assert "E_MISSING    25" in short
    assert fastft("data", "check", "run.toml", "--all").out.count("E_MISSING: ") == 25
    assert len(json.loads(fastft("data", "check", "run.toml", "--all", "--json").out)["findings"]) == 25


def test_neither_model_nor_torch_is_needed(fastft: Any) -> None:
    write(fastft.folder)
    assert not fastft.modules("data", "check", "run.toml") & {"torch", "transformers", "tokenizers"}
    assert not fastft.modules("data", "--help") & {"torch", "transformers", "pydantic", "rich"}


def test_a_source_that_cannot_be_used_is_a_finding_beside_the_others(fastft: Any) -> None:
    write(fastft.folder)
    (fastft.folder / "odd.jsonl").write_text('{"colour": 1}\n')
    train = "data.train=[{path='odd.jsonl'},{path='rows.jsonl'}]"
    heard, sources = _inside(fastft.folder, train)
    assert [finding.code for finding in heard] == ["E_FORMAT", "E_MISSING", "E_TYPE", "E_JSON", "E_ROLE"]
    assert heard[0].line is None
    assert "`colour`" in heard[0].reason
    assert [source["read"] for source in sources] == [0, 9]


def test_evaluation_sources_are_checked_too(fastft: Any) -> None:
    write(fastft.folder)
    heard, sources = _inside(fastft.folder, "data.eval=[{path='rows.jsonl', rows=3}]", "data.train.0.rows=1")
    assert [(source["part"], source["read"]) for source in sources] == [("train", 1), ("eval", 3)]
    assert [finding.line for finding in heard] == [2]


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_any_number_of_threads_finds_the_same_in_the_same_order(fastft: Any, threads: int) -> None:
    bad = dict.fromkeys((3, 4_000, 9_999, 20_000), "[]")
    write(fastft.folder, 20_000, bad)
    heard, sources = _inside(fastft.folder, f"data.threads={threads}")
    assert [finding.line for finding in heard] == list(bad)
    assert sources[0]["read"] == 20_000


def test_an_error_in_the_listener_ends_the_check(fastft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fastft.folder)
    write(fastft.folder, 20_000, dict.fromkeys(range(2, 20_000), "[]"))
    loaded = load("run.toml")

    def refuse(finding: Finding) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        check(loaded.config.data, loaded.config.stage, found=refuse, bus=Bus([]))


def test_the_first_error_is_told_while_the_rest_is_read(fastft: Any) -> None:
    """The reader has the line before the command ends, and Ctrl-C ends it without a traceback.

    30 GB of rows lie behind the first error, a few kB compressed and many times: they are not read in any time that
    a busy machine may lose between two lines below.
    """
    write(fastft.folder, 100_000, {})
    rest = gzip.compress((fastft.folder / "rows.jsonl").read_bytes())
    with (fastft.folder / "rows.jsonl.gz").open("wb") as file:
        file.write(gzip.compress(f"{GOOD}\n[]\n".encode()))
        file.writelines([rest] * 3_500)
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(fastft.bytecode), "NO_COLOR": "1"}
    words = [sys.executable, "-m", "fastft", "data", "check", "run.toml", "--set", "data.threads=1"]
    process = subprocess.Popen(
        [*words, "--set", "data.train.0.path=rows.jsonl.gz"],
        cwd=fastft.folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    ended = process.poll()
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert first.startswith("rows.jsonl.gz:2: E_TYPE: ")
    assert ended is None
    assert process.returncode == 130, err
    assert err.endswith("stopped\n")
    assert "Traceback" not in err


def _inside(folder: Path, *overrides: str) -> tuple[list[Finding], list[dict[str, Any]]]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return found(folder, *overrides)
    finally:
        os.chdir(before)
