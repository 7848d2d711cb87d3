"""Every format from its rows to documents: found, named in the config, refused with a place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft.config.kinds import FORMATS
from fastft.config.schema import SourceConfig
from fastft.core.errors import DataError
from fastft.data import dataset_info
from fastft.data.engine import engine
from fastft.data.plan import plain_sources

USER, ANSWER, WORSE = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
)
CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 0.1}'}}]


def align(row: Any, **mapping: Any) -> dict[str, Any]:
    """One row by a format as a config names it."""
    member = FORMATS.get(mapping.pop("kind"))
    assert member is not None
    [made] = json.loads(engine().align_rows(json.dumps(member(**mapping).mapping()), json.dumps([row])))
    return made


def guess(row: Any, wanted: str) -> dict[str, Any]:
    found = engine().guess_format(json.dumps([row]), wanted)
    assert found is not None
    return json.loads(found)


def texts(made: dict[str, Any]) -> list[str]:
    return [message["content"] for message in made["messages"]]


def test_every_format_of_the_config_is_one_of_the_engine_with_the_same_names() -> None:
    for name in FORMATS.names():
        member = FORMATS.get(name)
        assert member is not None
        mapping = member().mapping()
        rejected = engine().align_rows(json.dumps(mapping), "[3]")
        assert json.loads(rejected)[0]["code"] == "E_TYPE"
        with pytest.raises(ValueError, match="unknown field `nonsense`"):
            engine().align_rows(json.dumps(mapping | {"nonsense": "x"}), "[]")


ROWS = {
    "alpaca": ({"instruction": "q", "output": "a"}, "conversation"),
    "sharegpt": ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "conversation"),
    "openai": ({"messages": [USER, ANSWER]}, "conversation"),
    "completion": ({"prompt": "q", "completion": "a"}, "conversation"),
    "preference": ({"chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, "preference"),
    "ranked": ({"prompt": "q", "answers": ["b", "a"], "scores": [1, 2]}, "preference"),
    "kto": ({"prompt": "q", "completion": "a", "label": True}, "labelled"),
    "text": ({"text": "q"}, "text"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_is_recognised_and_means_the_same_by_its_guessed_names(kind: str) -> None:
    row, wanted = ROWS[kind]
    found = guess(row, wanted)
    assert found.pop("kind") == kind
    made = align(row, kind=kind, **found)
    if kind == "text":
        assert made == {"text": "q"}
        return
    answers = [message["content"] for answer in made.get("answers", []) for message in answer]
    assert (texts(made) + answers)[:2] == ["q", "a"]


RENAMED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"ask": "q", "say": "a"}, {"kind": "alpaca", "instruction": "ask", "output": "say"}),
    (
        {"talk": [{"who": "me", "what": "q"}, {"who": "you", "what": "a"}]},
        {
            "kind": "sharegpt",
            "messages": "talk",
            "role_tag": "who",
            "content_tag": "what",
            "user_tag": "me",
            "assistant_tag": "you",
        },
    ),
    (
        {"talk": [{"who": "me", "what": "q"}, {"who": "you", "what": "a"}]},
        {
            "kind": "openai",
            "messages": "talk",
            "role_tag": "who",
            "content_tag": "what",
            "user_tag": "me",
            "assistant_tag": "you",
        },
    ),
    ({"ask": "q", "say": "a"}, {"kind": "completion", "prompt": "ask", "completion": "say"}),
    (
        {"ask": "q", "good": "a", "bad": "b"},
        {"kind": "preference", "prompt": "ask", "chosen": "good", "rejected": "bad"},
    ),
    (
        {"ask": "q", "says": [{"t": "b", "s": 1}, {"t": "a", "s": 2}]},
        {"kind": "ranked", "prompt": "ask", "answers": "says", "text_tag": "t", "score_tag": "s"},
    ),
    ({"ask": "q", "say": "a", "ok": 0}, {"kind": "kto", "prompt": "ask", "completion": "say", "label": "ok"}),
    ({"body": "q"}, {"kind": "text", "column": "body"}),
]


@pytest.mark.parametrize(("row", "mapping"), RENAMED, ids=lambda value: value.get("kind", ""))
def test_columns_and_tags_are_read_by_their_names_in_the_config(row: dict[str, Any], mapping: dict[str, Any]) -> None:
    made = align(row, **mapping)
    assert "code" not in made, made
    assert align(row, kind=mapping["kind"])["code"] in ("E_MISSING", "E_ROLE")


OPTIONAL = ["system", "history", "tools"]


@pytest.mark.parametrize("column", OPTIONAL)
def test_an_optional_column_is_read_under_its_name_and_not_under_an_empty_one(column: str) -> None:
    value: Any = {"system": "s", "history": [["h", "r"]], "tools": [{"name": "f"}]}[column]
    row = {"instruction": "q", "output": "a", "extra": value}
    plain = align(row, kind="alpaca")
    assert align(row, kind="alpaca", **{column: "extra"}) != plain
    assert align({**row, column: value}, kind="alpaca", **{column: ""}) == plain


def test_weights_of_messages_come_through() -> None:
    rows = [
        {**USER},
        {**ANSWER, "weight": 0.25},
        {**USER},
        {**ANSWER, "train": False},
        {**USER},
        {**ANSWER, "train": True},
    ]
    assert align({"messages": rows}, kind="openai")["weights"] == [None, 0.25, None, 0.0, None, 1.0]


def test_text_beside_calls_parallel_calls_and_results_are_kept() -> None:
    row = {
        "messages": [
            USER,
            {"role": "assistant", "content": "I look.", "tool_calls": CALLS * 2},
            {"role": "tool", "content": "1", "tool_call_id": "1", "name": "f"},
            {"role": "tool", "content": "2", "tool_call_id": "2", "name": "f"},
            ANSWER,
        ]
    }
    made = align(row, kind="openai")["messages"]
    assert made[1]["content"] == "I look."
    assert [call["function"]["arguments"] for call in made[1]["tool_calls"]] == [{"x": 0.1}] * 2
    assert made[2] == {"role": "tool", "content": "1", "name": "f", "tool_call_id": "1"}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_numbers_in_calls_are_python_s_to_the_last_bit(number: float, whole: int) -> None:
    for arguments in ({"n": number, "w": whole}, json.dumps({"n": number, "w": whole})):
        calls = [{"function": {"name": "f", "arguments": arguments}}]
        made = align({"messages": [USER, {"role": "assistant", "tool_calls": calls}]}, kind="openai")
        found = made["messages"][1]["tool_calls"][0]["function"]["arguments"]
        assert (found["n"], found["w"]) == (number, whole)


def test_anthropic_s_transcripts_are_pairs() -> None:
    start = "\n\nHuman: What?\n\nAssistant: This.\n\nHuman: And?\n\nAssistant:"
    row = {"chosen": f"{start} That.", "rejected": f"{start} No."}
    made = align(row, **guess(row, "preference"))
    assert texts(made) == ["What?", "This.", "And?"]
    assert [answer[0]["content"] for answer in made["answers"]] == ["That.", "No."]


def test_real_transcripts_are_aligned_or_told(shared: Path) -> None:
    import gzip

    with gzip.open(shared / "data" / "hh_rlhf" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    mapping = engine().guess_format(json.dumps(rows), "preference")
    made = json.loads(engine().align_rows(mapping, json.dumps(rows)))
    good = [document for document in made if "answers" in document]
    assert len(good) > 0.95 * len(rows)
    assert {document["code"] for document in made if "code" in document} <= {"E_PAIR", "E_EMPTY", "E_ROLE"}


def test_columns_that_nothing_reads_are_named() -> None:
    row = {"instruction": "q", "output": "a", "source": "x", "id": 3}
    mapping = json.dumps(guess(row, "conversation"))
    assert engine().unused_columns(mapping, json.dumps(row)) == ["source", "id"]


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str, str, str | None]] = [
    (
        "type",
        {"kind": "alpaca"},
        {"instruction": 1, "output": "a"},
        "E_TYPE",
        "`instruction` is a number, expected a string",
        "instruction",
    ),
    (
        "missing",
        {"kind": "alpaca"},
        {"instruction": "q", "ouput": "a"},
        "E_MISSING",
        "`output` is missing, expected a string; did you mean `ouput`?",
        "output",
    ),
    (
        "role",
        {"kind": "openai"},
        {"messages": [USER, {"role": "asistant", "content": "a"}]},
        "E_ROLE",
        "the role `asistant` is unknown, expected `system`, `developer`, `user`, `assistant`, `tool`; did you mean `assistant`?",
        "messages[1].role",
    ),
    (
        "empty",
        {"kind": "openai"},
        {"messages": [USER, {"role": "assistant", "content": " "}]},
        "E_EMPTY",
        "`content` is empty",
        "messages[1].content",
    ),
    (
        "no-target",
        {"kind": "openai"},
        {"messages": [USER]},
        "E_NO_TARGET",
        "no message is from the assistant",
        "messages",
    ),
    (
        "pair",
        {"kind": "preference"},
        {"prompt": "q", "chosen": "a", "rejected": "a"},
        "E_PAIR",
        "the answer is the same as `chosen`",
        "rejected",
    ),
    (
        "media",
        {"kind": "alpaca"},
        {"instruction": "<image>", "output": "a", "images": ["1.jpg", "2.jpg"]},
        "E_MEDIA",
        "`images` has 2 references, the messages have 1 places for them (`<image>`)",
        "images",
    ),
    (
        "part",
        {"kind": "openai"},
        {"messages": [{"role": "user", "content": [{"type": "image_ur"}]}, ANSWER]},
        "E_TYPE",
        "a part of type `image_ur` is unknown, expected text or media; did you mean `image_url`?",
        "messages[0].content[0].type",
    ),
    (
        "large",
        {"kind": "openai"},
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"n": 2**64}}]}]},
        "E_TYPE",
        "a whole number in the tools or their calls has more than 64 bits; make it a string",
        None,
    ),
]


@pytest.mark.parametrize(
    ("mapping", "row", "code", "reason", "at"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_bad_row_is_told_with_its_place(
    mapping: dict[str, Any], row: dict[str, Any], code: str, reason: str, at: str | None
) -> None:
    assert align(row, **mapping) == {"code": code, "reason": reason, "at": at}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"chosen": "a", "label": "b"}, "`chosen` and `label` make different rows of one; keep one"),
        ({"rejected": "a"}, "`rejected` needs `chosen`"),
        ({"chosen": "a"}, "`chosen` needs `rejected`"),
        ({"answer": "chosen"}, "`answer` needs `chosen`"),
    ],
)
def test_names_that_make_no_sense_together_are_refused_by_the_config(names: dict[str, Any], message: str) -> None:
    member = FORMATS.get("openai")
    assert member is not None
    with pytest.raises(ValueError, match=message):
        member.model_validate(names)


def info(folder: Path, **entries: Any) -> str:
    path = folder / dataset_info.FILE_NAME
    path.write_text(json.dumps(entries), "utf-8")
    return str(path)


def test_datasets_of_a_dataset_info_become_plain_sources(tmp_path: Path) -> None:
    path = info(
        tmp_path,
        one={"file_name": "one.json", "num_samples": 5},
        two={
            "hf_hub_url": "a/b",
            "subset": "en",
            "split": "test",
            "folder": "f",
            "formatting": "sharegpt",
            "ms_hub_url": "c/d",
        },
        three={"cloud_file_name": "s3://x/y.jsonl", "columns": {"prompt": "body"}},
        four={
            "file_name": "d",
            "ranking": True,
            "columns": {"prompt": "p", "chosen": "c", "rejected": "r", "system": "s"},
        },
    )
    for written in ("one, two,three,four", ["one", "two", "three", "four"]):
        source = SourceConfig.model_validate({"path": path, "dataset": written, "rows": 7, "repeat": 2})
        one, two, three, four = plain_sources([source], None)
        assert (one.path, one.rows, one.name, one.repeat) == (str(tmp_path / "one.json"), 5, "one", 2)
        assert one.format is not None
        assert one.format.mapping()["system"] == ""
        assert (two.path, two.rows) == ("hf://datasets/a/b/f?subset=en&split=test", 7)
        assert two.format is not None
        assert two.format.kind == "sharegpt"
        assert (three.path, three.format and three.format.mapping()["column"]) == ("s3://x/y.jsonl", "body")
        names = four.format and four.format.mapping()
        assert names
        assert (names["instruction"], names["chosen"], names["system"], names["input"]) == ("p", "c", "s", "")
    plain = SourceConfig(path="x.jsonl")
    assert plain_sources([plain], None) == [plain]
    assert plain_sources([SourceConfig(path=str(tmp_path), dataset=["one"])], None)[0].name == "one"


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "script": ({"script_url": "x"}, "is made by a Python script (`script_url`)", "save its rows as JSONL"),
    "modelscope": ({"ms_hub_url": "a/b"}, "is on ModelScope (`ms_hub_url`)", "download `a/b`"),
    "openmind": ({"om_hub_url": "a/b"}, "is on OpenMind (`om_hub_url`)", "download `a/b`"),
    "nowhere": ({}, "does not say where its rows are", "`file_name`"),
    "field": ({"file_nam": "x"}, "has no key `file_nam`", "did you mean `file_name`?"),
    "column": ({"file_name": "x", "columns": {"promt": "x"}}, "has no key `columns.promt`", "`columns.prompt`"),
    "tag": ({"file_name": "x", "tags": {"role": "x"}}, "has no key `tags.role`", "`tags.role_tag`"),
    "formatting": ({"file_name": "x", "formatting": "sharegp"}, "has the unknown formatting `sharegp`", "`sharegpt`"),
    "samples": ({"file_name": "x", "num_samples": 0}, "has `num_samples` 0", "from 1"),
    "response": ({"file_name": "x", "columns": {"prompt": "a", "query": "b"}}, "has no `response`", "columns.response"),
    "question": ({"file_name": "x", "columns": {"response": "a"}}, "has no question", "columns.prompt"),
    "entry": (3, "is no object", "file_name"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_dataset_info_has_wrong_is_told_with_a_way_out(case: str, tmp_path: Path) -> None:
    entry, message, hint = WRONG[case]
    with pytest.raises(DataError) as caught:
        plain_sources([SourceConfig(path=info(tmp_path, it=entry), dataset=["it"])], None)
    assert f"dataset `it` {message}" in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_dataset_that_is_not_there_and_a_file_that_is_none_are_told(tmp_path: Path) -> None:
    path = info(tmp_path, identity={"file_name": "x"})
    for dataset, message, hint in (
        (["idenity"], "has no dataset `idenity`", "did you mean `identity`?"),
        (None, "no dataset of the file is named", "there is `identity`"),
    ):
        with pytest.raises(DataError) as caught:
            plain_sources([SourceConfig(path=path, dataset=dataset)], None)
        assert message in caught.value.message
        assert hint in (caught.value.hint or "")
    rows = tmp_path / "rows.json"
    for text, message in (("[1]", "holds no object"), ("{", "is no JSON")):
        rows.write_text(text, "utf-8")
        with pytest.raises(DataError, match=message):
            plain_sources([SourceConfig(path=str(rows), dataset=["a"])], None)


def test_a_stage_that_gets_other_rows_than_it_wants_says_so_with_a_way_out(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError) as caught:
        kitchen.prepare(path)
    assert caught.value.message == (
        "source `pairs`: rows are preferences (better and worse answers), but the stage learns from conversations"
    )
    assert 'answer = "chosen"' in (caught.value.hint or "")
    source = {"path": str(path), "format": {"kind": "preference", "answer": "chosen"}}
    want = kitchen.prepare(write_jsonl(tmp_path / "want.jsonl", [chat("q", "a")])).train.document(0)
    assert kitchen.prepare(source).train.document(0) == want


def test_a_source_may_name_datasets_of_a_dataset_info(kitchen: Kitchen, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "q", "output": "a", "system": "not read"}])
    write_jsonl(tmp_path / "more.jsonl", [{"ask": "q", "say": "a"}] * 3)
    path = info(
        tmp_path,
        rows={"file_name": "rows.jsonl"},
        more={"file_name": "more.jsonl", "columns": {"prompt": "ask", "response": "say"}, "num_samples": 2},
    )
    prepared = kitchen.prepare({"path": path, "dataset": "rows,more"})
    assert {name: books["used"] for name, books in prepared.books["sources"].items()} == {"rows": 1, "more": 2}
    want = kitchen.prepare(write_jsonl(tmp_path / "want.jsonl", [chat("q", "a")])).train.document(0)
    assert all(prepared.train.document(index) == want for index in range(3))


def test_rows_with_media_are_set_aside_and_told(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = [{"instruction": "<image>q", "output": "a", "images": ["1.jpg"]}, {"instruction": "q", "output": "a"}]
    prepared = kitchen.prepare(write_jsonl(tmp_path / "rows.jsonl", rows), out=tmp_path / "out")
    assert prepared.books["total"]["quarantined"] == {"E_MEDIA": 1}
