"""`preview` shows rows as `prepare` stores them: every option that changes a row changes what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, chat, write_jsonl

from fastft.data import PreviewRow, RejectedRow, preview
from fastft.stages.pretrain import Pretrain
from fastft.stages.sft import SFT

EXAM = "Which river flows through the old town of the capital of Hungary today?"


def shown(
    kitchen: Kitchen,
    path: Path,
    rows: int = 9,
    heard: Heard | None = None,
    rejected: Callable[[RejectedRow], None] | None = None,
    **options: Any,
) -> list[PreviewRow]:
    from fastft.core.events import Bus

    stage = Pretrain() if path.suffix == ".txt" else SFT()
    bus = None if heard is None else Bus([heard])
    config, more = kitchen.config(path, **options), {"cache": kitchen.cache, "bus": bus, "rejected": rejected}
    return list(preview(config, stage, kitchen.tokenizer, rows=rows, **more))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(
        tmp_path / "rows.jsonl",
        [
            chat("Who is RenÃ©?", "zero​width, mail rene@mail.org"),
            chat("short", "ok"),
            chat(EXAM, "The Danube, which is a long river indeed."),
            chat("q" * 200, "a" * 200),
        ],
    )


@pytest.mark.parametrize(
    ("options", "row", "want"),
    [
        ({"clean": {"repair": {}}}, 0, {"changed": ["repair.mojibake", "repair.zero_width"]}),
        ({"clean": {"pii": {}}}, 0, {"changed": ["pii.email"]}),
        ({"clean": {"pii": {"action": "drop"}}}, 0, {"dropped": "pii.email", "detail": "[EMAIL]"}),
        ({"clean": {"length": {"min_chars": 9}}}, 1, {"dropped": "length.few_chars"}),
        ({"clean": {"block": {"words": ["danube"]}}}, 2, {"dropped": "block.word", "detail": "Danube"}),
        ({"decontaminate": True}, 2, {"dropped": "decontaminate.exam", "detail": "exam.jsonl:1"}),
        ({"truncate": "drop"}, 3, {"dropped": "too_long"}),
        ({"truncate": "right"}, 3, {"dropped": None, "long": 256}),
        ({"truncate": "llamafactory"}, 3, {"dropped": None, "long": 256}),
    ],
    ids=str,
)
def test_an_option_that_is_switched_on_changes_what_is_shown(
    kitchen: Kitchen, rows: Path, tmp_path: Path, options: dict[str, Any], row: int, want: dict[str, Any]
) -> None:
    if "decontaminate" in options:
        exam = write_jsonl(tmp_path / "exam.jsonl", [{"q": EXAM}])
        options = {"decontaminate": {"sets": [{"name": "exam", "path": str(exam)}]}}
    plain = shown(kitchen, rows, max_length=1024)
    assert all((each.dropped, each.changed, each.cut) == (None, [], 0) for each in plain)
    found = shown(
        kitchen, rows, **{"max_length": 1024, **({"max_length": 256} if "truncate" in options else {}), **options}
    )
    assert [each.row for each in found] == [0, 1, 2, 3]
    if "long" in want:
        assert len(found[row].ids) <= want.pop("long")
        assert found[row].cut == len(plain[row].ids) - len(found[row].ids) > 0
        assert len(found[row].text) < len(plain[row].text)
    assert {name: getattr(found[row], name) for name in want} == want
    if found[row].dropped is not None:
        assert found[row].text == plain[row].text
        assert (len(found[row].ids), sum(found[row].trained)) == (len(plain[row].ids), 0)
    else:
        assert found[row].text != plain[row].text
    if row != 3:
        assert found[3] == plain[3]


def test_repaired_text_is_what_is_shown(kitchen: Kitchen, rows: Path) -> None:
    first = shown(kitchen, rows, rows=1, clean={"repair": {}, "pii": {}})[0]
    assert "Who is René?" in first.text
    assert "zerowidth, mail [EMAIL]" in first.text
    assert first.changed == ["pii.email", "repair.mojibake", "repair.zero_width"]


def test_all_turns_but_the_last_go_and_text_is_split(kitchen: Kitchen, tmp_path: Path) -> None:
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(9) for role in ("user", "assistant")]
    path = write_jsonl(tmp_path / "turns.jsonl", [{"messages": turns}])
    (row,) = shown(kitchen, path, truncate="turns", max_length=96)
    assert "user 8" in row.text
    assert "user 0" not in row.text
    assert row.cut > 0
    text = tmp_path / "text.txt"
    text.write_text("word " * 100)
    pieces = shown(kitchen, text, truncate="split", max_length=96)
    assert len(pieces) > 3
    assert "".join(piece.text for piece in pieces).startswith("word " * 50)


def test_copies_stand_behind_their_row(kitchen: Kitchen, rows: Path) -> None:
    augment = [{"kind": "characters", "rate": 0.5, "copies": 2}]
    found = shown(kitchen, rows, rows=1, augment=augment)
    assert [(each.row, each.copy) for each in found] == [(0, 0), (0, 1), (0, 2)]
    assert len({each.text for each in found}) == 3


@pytest.mark.parametrize("truncate", ["drop", "right", "left", "middle", "llamafactory", "turns"])
def test_what_stays_is_what_is_stored(kitchen: Kitchen, rows: Path, truncate: str) -> None:
    options: dict[str, Any] = {
        "truncate": truncate,
        "clean": {"repair": {}, "pii": {}, "length": {"min_chars": 9}},
        "augment": [{"kind": "spacing", "rate": 0.5}],
    }
    kept = [each for each in shown(kitchen, rows, **options) if each.dropped is None]
    store = kitchen.prepare(rows, seed=0, **options).train
    assert len(kept) == len(store)
    for index, row in enumerate(kept):
        assert (row.ids, [bool(flag) for flag in row.trained]) == store.document(index)


def test_rows_that_are_left_out_count_and_bad_ones_do_not(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("a", "b") for _ in range(4)])
    path.write_text("broken\n" + path.read_text())
    heard = Heard()
    bad: list[RejectedRow] = []
    found = shown(kitchen, path, rows=2, heard=heard, rejected=bad.append, clean={"length": {"min_chars": 50}})
    assert [each.place for each in found] == [f"{path}:2", f"{path}:3"]
    assert [(each.row, each.file, each.line, each.code) for each in bad] == [(0, str(path), 1, "E_JSON")]
    assert [(each.row, each.dropped) for each in found] == [(1, "length.few_chars"), (2, "length.few_chars")]
    assert heard.codes().count("data.quarantined") == 1
    assert json.dumps(found[0].text)
