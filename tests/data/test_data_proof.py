"""Whose ids are used: the engine's where they are the library's, else the library's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_helpers import Heard, Kitchen, chat, ids_of, make_tokenizer, write_jsonl

from fastft.core.errors import ModelError
from fastft.data import proof as subject
from fastft.data.proof import Proof, compare, proof, verdicts, watched

FIXTURES = Path(__file__).resolve().parents[1] / "templates" / "fixtures"
WORDS = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"},
}


@pytest.fixture
def own(tmp_path: Path) -> Kitchen:
    """A kitchen whose cache holds nothing yet."""
    return Kitchen(make_tokenizer(tmp_path / "tokenizer"), tmp_path / "cache")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*tokenizer.json")), ids=lambda path: path.stem)
def test_the_engine_proves_its_ids(path: Path) -> None:
    assert compare(path.read_text(encoding="utf-8")) == Proof("fastft")


def test_what_the_engine_does_not_know_is_the_librarys() -> None:
    assert compare(json.dumps(WORDS)) == Proof("tokenizers")


def test_other_ids_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    description = (FIXTURES / "chatml_tokenizer.json").read_text(encoding="utf-8")
    right = subject._ids
    monkeypatch.setattr(subject, "_ids", lambda native, text: [*right(native, text)[:-1], 7])
    found = compare(description)
    assert found.engine == "tokenizers"
    assert found.reason is not None
    assert found.reason.startswith("its ids of '' are others than the library's: ")


def test_a_verdict_is_kept(own: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    assert proof(own.tokenizer, own.cache) == Proof("fastft")
    (kept,) = (own.cache / "ids").iterdir()
    assert verdicts(own.cache) == [Proof("fastft")]
    monkeypatch.setattr(subject, "compare", lambda description: Proof("tokenizers"))
    assert proof(own.tokenizer, own.cache) == Proof("fastft")
    kept.write_text("{")
    assert verdicts(own.cache) == []
    assert proof(own.tokenizer, own.cache) == Proof("tokenizers")


def test_ids_that_differ_while_rows_are_prepared_are_the_librarys_from_then_on(own: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [chat("a", "b"), chat("c", "d")])
    before, heard = own.prepare(rows, heard=(first := Heard())), Heard()
    with pytest.raises(ModelError, match="differ") as error, watched(own.tokenizer, own.cache):
        raise ModelError("ids differ", code="model.tokenizer-differs")
    assert error.value.hint == "run it again: from now on the library makes all its ids"
    after = own.prepare(rows, heard=heard)
    assert json.loads(before.plan.json)["tokenizer"]["own"] is True
    assert json.loads(after.plan.json)["tokenizer"]["own"] is False
    assert (before.plan.ids, after.plan.ids) == (Proof("fastft"), Proof("tokenizers", "ids differ"))
    assert before.key != after.key
    assert ids_of(before) == ids_of(after)
    assert "data.tokenizer-in-library" in heard.codes()
    assert "data.tokenizer-in-library" not in first.codes()


def test_other_errors_are_no_verdict(own: Kitchen) -> None:
    with pytest.raises(ModelError, match="something else"), watched(own.tokenizer, own.cache):
        raise ModelError("something else", code="model.tokenizer")
    assert not (own.cache / "ids").exists()
