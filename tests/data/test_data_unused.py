"""Columns that no format reads are told, once a source, and no more where the user says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, write_jsonl

from fastft.config.kinds import STAGES, Stage
from fastft.core.errors import DataError
from fastft.core.events import Bus, Warned
from fastft.data import check, open_stream, preview

ROWS = [{"instruction": f"q{n}", "output": "a", "id": n, "none": None, "late": None if n < 3 else n} for n in range(9)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def told(heard: Heard) -> list[str]:
    return [e.message for e in heard.events if isinstance(e, Warned) and e.code == "data.unused-columns"]


def sft() -> Stage:
    stage = STAGES.get("sft")
    assert stage is not None
    member: Stage = stage()
    return member


@pytest.mark.parametrize("kind", [None, "alpaca"])
def test_columns_that_hold_something_and_are_not_read_are_named_once(
    kitchen: Kitchen, rows: Path, tmp_path: Path, kind: str | None
) -> None:
    alone = Kitchen(kitchen.tokenizer, tmp_path / "cache")
    source = {"path": str(rows), "format": None if kind is None else {"kind": kind}}
    first, second = Heard(), Heard()
    alone.prepare(source, heard=first)
    assert alone.prepare(source, heard=second).cached
    assert told(first) == ["source `rows` has columns that its format does not read: `id`, `late`"]
    assert told(second) == [], "who finds the store was told when it was made"


def test_each_source_has_a_warning_of_its_own_and_evaluation_too(kitchen: Kitchen, rows: Path, tmp_path: Path) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", [{"instruction": "q", "output": "a", "score": 1}])
    heard = Heard()
    alone = Kitchen(kitchen.tokenizer, tmp_path / "cache")
    alone.prepare(rows, other, eval_sources=(other,), heard=heard)
    assert [text.split("`")[1] for text in told(heard)] == ["rows", "other", "other"]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"ignore": ["id"]}, ["late"]),
        ({"ignore": ["id", "late"]}, []),
        ({"ignore": ["*"]}, []),
        ({"format": {"kind": "alpaca", "system": "id"}}, ["late"]),
    ],
)
def test_naming_a_column_in_format_or_ignore_is_enough(
    kitchen: Kitchen, tmp_path: Path, change: dict[str, Any], left: list[str]
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{**row, "id": str(row["id"])} for row in ROWS])
    heard = Heard()
    Kitchen(kitchen.tokenizer, tmp_path / "cache").prepare({"path": str(path), **change}, heard=heard)
    want = [f"source `rows` has columns that its format does not read: {', '.join(f'`{each}`' for each in left)}"]
    assert told(heard) == (want if left else [])


def test_check_preview_and_streaming_tell_it_as_well(kitchen: Kitchen, rows: Path) -> None:
    want = ["source `rows` has columns that its format does not read: `id`, `late`"]
    data = kitchen.config(rows)
    common: dict[str, Any] = {"cache": kitchen.cache}
    heard = Heard()
    checked = check(data, sft(), found=lambda finding: None, bus=Bus([heard]), **common)
    assert (told(heard), checked[0]["unused"]) == (want, ["id", "late"])
    heard = Heard()
    assert len(list(preview(data, sft(), kitchen.tokenizer, rows=1, bus=Bus([heard]), **common))) == 1
    assert told(heard) == want
    heard = Heard()
    open_stream(kitchen.config(rows, streaming=True), sft(), kitchen.tokenizer, seed=1, bus=Bus([heard]), **common)
    assert told(heard) == want


def test_a_source_of_many_columns_is_one_readable_line(kitchen: Kitchen, tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a"} | {f"c{n:02}": n for n in range(40)}
    heard = Heard()
    Kitchen(kitchen.tokenizer, tmp_path / "cache").prepare(write_jsonl(tmp_path / "wide.jsonl", [row]), heard=heard)
    assert told(heard)[0].endswith("`c10`, `c11` and 28 more")


def test_datasets_of_a_dataset_info_keep_what_is_ignored(kitchen: Kitchen, rows: Path, tmp_path: Path) -> None:
    info = {"mine": {"file_name": rows.name}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    source = {"path": str(tmp_path / "dataset_info.json"), "dataset": ["mine"]}
    for ignore, want in ([], 1), (["id", "late"], 0):
        heard = Heard()
        cache = tmp_path / f"cache-{want}"
        Kitchen(kitchen.tokenizer, cache).prepare({**source, "ignore": ignore}, heard=heard)
        assert len(told(heard)) == want


def test_answers_with_a_label_are_not_learnt_as_good_ones(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": f"a{n}", "label": n % 2 == 0} for n in range(6)]
    path = write_jsonl(tmp_path / "kto.jsonl", rows)
    with pytest.raises(DataError, match="answers with a label") as refused:
        kitchen.prepare(path)
    assert "`ignore`" in str(refused.value.hint)
    assert len(kitchen.prepare({"path": str(path), "format": {"kind": "completion"}}).train) == 6
    assert len(kitchen.prepare({"path": str(path), "ignore": ["label"]}).train) == 6
