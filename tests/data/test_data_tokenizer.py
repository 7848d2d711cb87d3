"""`fastft.tokenizer`: ids, offsets and texts of the `tokenizers` library, by name, by file and from live objects."""

from __future__ import annotations

import copy
import json
import pickle
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import fastft
from fastft.core.errors import DataError, ModelError, ResourceError
from fastft.data import TokenStore
from fastft.data.tokenizer import Tokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "templates" / "fixtures"
FILES = sorted(FIXTURES.glob("*tokenizer.json"))
TEXTS = ["", "a", "Hello <|im_end|>\n  12345", "Grüße 你好 🙂\u200d", "x" * 5000, " \r\n\t'll"]


def pair(path: Path, around: str | None = None) -> tuple[fastft.data.tokenizer.Tokenizer, tokenizers.Tokenizer]:
    reference = tokenizers.Tokenizer.from_file(str(path))
    if around is not None:
        ids = [(token, reference.token_to_id(token)) for token in {*around.split()} - {"$A"}]
        reference.post_processor = tokenizers.processors.TemplateProcessing(single=around, special_tokens=ids)
    return fastft.tokenizer(reference), reference


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ids_counts_and_texts_are_the_librarys(path: Path) -> None:
    ours, reference = pair(path)
    found = ours.encode_batch(TEXTS, threads=2)
    assert len(found) == len(TEXTS)
    for index, text in enumerate(TEXTS):
        ids = reference.encode(text).ids
        assert ours.encode(text) == ids
        assert found[index].tolist() == found[index - len(TEXTS)].tolist() == ids
        assert ours.decode(ids) == reference.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids, skip_special_tokens=True) == reference.decode(ids)
    assert ours.count(TEXTS).tolist() == found.counts.tolist() == [len(found[index]) for index in range(len(TEXTS))]
    with pytest.raises(IndexError, match="text 6 of 6"):
        found[6]


@cache
def every() -> list[fastft.data.tokenizer.Tokenizer]:
    return [pair(path)[0] for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_threads_change_nothing(path: Path) -> None:
    ours, reference = pair(path)
    texts = [f"{number} {TEXTS[number % len(TEXTS)][:40]}" for number in range(1000)]
    one, *others = (ours.encode_batch(texts, offsets=True, threads=threads) for threads in (1, 2, 8))
    for many in others:
        assert np.array_equal(one.ids, many.ids)
        assert np.array_equal(one.offsets, many.offsets)
        assert np.array_equal(one.counts, many.counts)
    assert one.ids.tolist() == [each for text in texts for each in reference.encode(text).ids]
    assert len(ours.encode_batch([]).ids) == 0


@given(st.lists(st.text(max_size=20) | st.sampled_from([*TEXTS, "<think>a", "</s>"]), max_size=6), st.integers(1, 3))
def test_a_batch_is_its_texts_one_by_one(texts: list[str], threads: int) -> None:
    for ours in every():
        batch = ours.encode_batch(texts, offsets=True, threads=threads)
        alone = [ours.encode_batch([text], offsets=True) for text in texts]
        assert [batch[index].tolist() for index in range(len(texts))] == [ours.encode(text) for text in texts]
        assert batch.offsets.tolist() == [each for found in alone for each in found.offsets.tolist()]
        assert batch.counts.tolist() == [len(found.ids) for found in alone]


def test_calls_by_threads_that_end_do_not_disturb_one_another() -> None:
    ours, reference = pair(FILES[0])
    expected = [reference.encode(text).ids for text in TEXTS]
    for round_ in range(20):
        found = ours.encode_batch(TEXTS * 300, threads=1 + round_ % 4)
        assert [found[index].tolist() for index in range(len(TEXTS))] == expected
        assert len(found) == len(TEXTS) * 300


def test_tokens_can_be_sent_to_another_process() -> None:
    found = pair(FILES[0])[0].encode_batch(TEXTS, offsets=True)
    again = pickle.loads(pickle.dumps(found))
    for name in ("ids", "offsets", "counts"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert again[2].tolist() == found[2].tolist()


def test_what_is_made_of_a_file_is_kept_in_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(FILES[0].read_bytes())
    first = Tokenizer.open(path, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.tables")
    again = Tokenizer.open(path, cache=tmp_path / "cache")
    assert first.encode(TEXTS[2]) == again.encode(TEXTS[2]) == pair(path)[1].encode(TEXTS[2]).ids
    with pytest.raises(ModelError, match="tokenizer can't be used"):
        Tokenizer.open(kept, cache=tmp_path)
    with pytest.raises(ModelError, match="nowhere"):
        Tokenizer.open(tmp_path / "nowhere.json")


def encoded(tokenizer: Tokenizer, rows: list[object], folder: Path, **options: Any) -> list[list[int]]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    store = tokenizer.encode_file(path, cache=folder / "cache", **options)
    return [store.document(index)[0] for index in range(len(store))]


@pytest.mark.parametrize("around", [None, "<|im_start|> $A", "$A <|im_end|>", "<|im_start|> $A <|im_end|>"])
def test_a_file_becomes_a_store_of_the_librarys_ids(tmp_path: Path, around: str | None) -> None:
    ours, reference = pair(FIXTURES / "chatml_tokenizer.json", around)
    texts = [text for text in TEXTS if text.strip()]
    rows: list[object] = [{"text": text, "other": [1]} for text in texts]
    assert encoded(ours, rows, tmp_path) == [reference.encode(text).ids for text in texts]
    bare = [reference.encode(text, add_special_tokens=False).ids for text in texts]
    assert encoded(ours, rows, tmp_path, add_special_tokens=False, threads=2) == bare
    assert encoded(ours, [{"body": text} for text in texts], tmp_path, column="body", add_special_tokens=False) == bare
    assert ours.vocab_size == max(reference.get_vocab().values()) + 1


def test_a_store_of_a_text_file_is_put_where_it_is_asked_for(tmp_path: Path) -> None:
    ours, reference = pair(FIXTURES / "chatml_tokenizer.json")
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n\nthree\n", "utf-8")
    for unit, texts in {"line": ["one", "two", "three"], "file": ["one\ntwo\n\nthree"]}.items():
        out = tmp_path / unit
        store = ours.encode_file(path, out, unit=unit, cache=tmp_path / "cache")
        assert [store.document(index)[0] for index in range(len(store))] == [reference.encode(t).ids for t in texts]
        assert TokenStore.open(out).tokens == store.tokens
        assert store.place(0)[0].endswith("text.txt")


def test_a_row_without_text_ends_it_or_is_set_aside(tmp_path: Path) -> None:
    ours, reference = pair(FIXTURES / "chatml_tokenizer.json")
    rows: list[object] = [{"text": "one"}, {"body": "two"}]
    with pytest.raises(DataError) as refused:
        encoded(ours, rows, tmp_path)
    assert refused.value.line == 2
    assert refused.value.hint == 'with `on_bad = "quarantine"` such rows are set aside and listed'
    assert encoded(ours, rows, tmp_path, on_bad="quarantine") == [reference.encode("one").ids]


def test_more_than_a_token_around_a_text_is_refused(tmp_path: Path) -> None:
    ours, _ = pair(FIXTURES / "chatml_tokenizer.json", "<|im_start|> <|im_end|> $A")
    with pytest.raises(ModelError, match="more around a text"):
        encoded(ours, [{"text": "a"}], tmp_path)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_offsets_are_bytes_of_the_text(texts: list[str]) -> None:
    ours, _ = pair(FILES[0])
    found, at = ours.encode_batch(texts, offsets=True), 0
    bare = ours.encode_batch(texts)
    assert (bare.ids.tolist(), bare.offsets.shape) == (found.ids.tolist(), (0, 2))
    for text, count in zip(texts, found.counts, strict=True):
        covered = bytearray(len(text.encode()))
        for begin, end in found.offsets[at : at + int(count)]:
            covered[begin:end] = b"x" * (end - begin)
        assert covered == b"x" * len(covered)
        at += int(count)


def test_special_tokens_stand_around_a_text_when_asked_for() -> None:
    end = "<|im_end|>"
    ours, reference = pair(FIXTURES / "chatml_tokenizer.json", f"{end} $A {end} {end}")
    for text in TEXTS:
        assert ours.encode(text) == reference.encode(text).ids
        assert ours.encode(text, add_special_tokens=False) == reference.encode(text, add_special_tokens=False).ids
    assert ours.encode_batch(["ab"], offsets=True).offsets[[0, -1]].tolist() == [[0, 0], [2, 2]]
    assert ours.token_to_id(end) == reference.token_to_id(end)
    assert ours.token_to_id("nowhere") is None


def test_names_and_files_are_sources_and_the_engine_is_told(tmp_path: Path) -> None:
    path = FIXTURES / "chatml_tokenizer.json"
    named, filed = fastft.tokenizer("embedded:smollm2-135m"), fastft.tokenizer(path)
    assert named.encode("Hello world") == [19556, 905]
    assert filed.encode("Hello") == tokenizers.Tokenizer.from_file(str(path)).encode("Hello").ids
    assert named.engine == filed.engine == "fastft"
    assert fastft.tokenizer(path.read_text("utf-8")).encode("Hello") == filed.encode("Hello")
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    with pytest.raises(ModelError, match="can't be used"):
        fastft.tokenizer(broken)
    with pytest.raises(ModelError, match="nowhere"):
        fastft.tokenizer(tmp_path / "nowhere")


def test_a_tokenizer_that_the_library_serves_says_so_once() -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.warns(RuntimeWarning, match="library makes the ids, slowly"):
        ours = fastft.tokenizer(words)
    assert (ours.engine, ours.encode("a"), ours.encode("b")) == ("tokenizers", [0], [1])  # a second would be an error


def test_a_tokenizer_that_is_left_for_the_library_says_of_which_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair(FILES[0])
    left = SimpleNamespace(own=False, different="ab b", encode=ours._native.encode)
    monkeypatch.setattr(ours, "_native", left)
    with pytest.warns(RuntimeWarning, match="slowly: fastft's ids of 'ab b' are others"):
        ours.encode("a")
    ours.encode("a")  # a second would be an error


def test_a_tokenizer_can_be_sent_and_copied() -> None:
    ours, reference = pair(FILES[0])
    for again in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
        assert again.encode(TEXTS[2]) == reference.encode(TEXTS[2]).ids


def test_a_slice_of_a_batch_is_a_list_of_texts() -> None:
    found = pair(FILES[0])[0].encode_batch(TEXTS)
    assert [each.tolist() for each in found[1:4]] == [found[index].tolist() for index in (1, 2, 3)]
    assert [each.tolist() for each in found[::-1]] == [found[index].tolist() for index in range(len(TEXTS))][::-1]


def test_a_file_is_encoded_by_the_tokenizer_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(FILES[0].read_bytes())
    ours, reference = Tokenizer.open(path, cache=tmp_path / "cache"), pair(FILES[0])[1]
    path.write_bytes(FILES[1].read_bytes())
    bare = reference.encode("Hello you", add_special_tokens=False).ids
    assert encoded(ours, [{"text": "Hello you"}], tmp_path, add_special_tokens=False) == [bare]
    path.unlink()
    assert encoded(ours, [{"text": "Hello you"}] * 2, tmp_path, add_special_tokens=False) == [bare] * 2


def test_a_damaged_copy_in_the_cache_is_made_anew(tmp_path: Path) -> None:
    ours, reference = pair(FIXTURES / "chatml_tokenizer.json")
    expected = [reference.encode("ab").ids]
    assert encoded(ours, [{"text": "ab"}], tmp_path) == expected
    (copied,) = (tmp_path / "cache" / "tokenizers").glob("*/tokenizer.json")
    whole = copied.read_bytes()
    other = json.loads(whole)
    vocabulary = other["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    for rows, damaged in enumerate((whole[:1000], json.dumps(other).encode()), 2):
        copied.write_bytes(damaged)
        assert encoded(ours, [{"text": "ab"}] * rows, tmp_path) == expected * rows
        assert copied.read_bytes() == whole


@pytest.mark.parametrize("kind", [tokenizers.processors.RobertaProcessing, tokenizers.processors.BertProcessing])
def test_tokens_that_other_processors_put_around_are_put_in_files_too(tmp_path: Path, kind: Any) -> None:
    reference = tokenizers.Tokenizer.from_file(str(FIXTURES / "chatml_tokenizer.json"))
    ends = [(token, reference.token_to_id(token)) for token in ("<|im_end|>", "<|im_start|>")]
    reference.post_processor = kind(*ends)
    ours = fastft.tokenizer(reference)
    assert ours.around == ([ends[1][1]], [ends[0][1]])
    assert encoded(ours, [{"text": "one"}], tmp_path) == [reference.encode("one").ids]


@given(st.lists(st.sampled_from([" ", "  ", "a", "\n", "\t", "x y", "<sp>", "   "]), max_size=8), st.booleans())
def test_offsets_are_trimmed_as_the_library_does(parts: list[str], prefixed: bool) -> None:
    ours, reference = trimming(prefixed)
    for text in ("".join(parts), *parts):
        found = ours.encode_batch([text], offsets=True).offsets.tolist()
        assert found == [list(each) for each in reference.encode(text).offsets]


@cache
def trimming(prefixed: bool) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    reference = tokenizers.Tokenizer.from_file(str(FIXTURES / "chatml_tokenizer.json"))
    reference.add_tokens(["   ", "<sp> "])
    reference.post_processor = tokenizers.processors.ByteLevel(trim_offsets=True, add_prefix_space=prefixed)
    return fastft.tokenizer(reference), reference


@pytest.mark.parametrize(
    "wrong", [{"unit": "word"}, {"on_bad": "skip"}, {"threads": -1}, {"column": 5}, {"column": ""}], ids=str
)
def test_arguments_that_are_none_are_told(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}` is .*; expected"):
        encoded(pair(FILES[0])[0], [{"text": "a"}], tmp_path, **wrong)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ResourceError, match="cache can't be written"):
        encoded(pair(FILES[0])[0], [{"text": "a"}], tmp_path)


def test_what_is_no_text_and_no_id_is_told() -> None:
    ours, _ = pair(FILES[0])
    with pytest.raises(DataError, match="text 0 can't be tokenized"):
        ours.encode("\ud800")
    with pytest.raises(DataError, match=r"text 1 .* character 2"):
        ours.count(["a", "ab\ud800"])
    for make in (ours.count, ours.encode_batch):
        with pytest.raises(TypeError, match=r"`\[text\]`"):
            make("hello")
        with pytest.raises(TypeError, match="text 1 is no str but int"):
            make(["a", 1])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="`threads` is -1"):
            make(["a"], threads=-1)
    with pytest.raises(TypeError, match="expected ids"):
        ours.decode("123")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float"):
        ours.decode([15496.9])  # type: ignore[list-item]
    assert ours.decode(np.array([1, 2])) == ours.decode([1, 2])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="can't be decoded"):
        ours.decode([-1])
