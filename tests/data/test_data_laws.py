"""Laws that hold for any rows and any options: nothing is lost, nothing depends on threads, every row ends as it must."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, ids_of, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from fastft.data import Batches, Prepared

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=0, max_size=60)
words = st.lists(st.sampled_from(["one", "two", "der", "die", "的", "größe", "\n", "<|im_end|>"]), max_size=60)


@st.composite
def conversations(draw: st.DrawFn) -> str:
    turns = draw(st.integers(1, 3))
    messages = []
    for _ in range(turns):
        messages += chat(draw(text) or "q", " ".join(draw(words)) or draw(text) or "a")["messages"]
    return json.dumps({"messages": messages}, ensure_ascii=draw(st.booleans()))


broken = st.sampled_from(
    ["{", "[]", '{"messages": 3}', '{"messages": []}', '{"messages": [{"role": "user", "content": "q"}]}', '"x"']
)
lines = st.lists(st.one_of(conversations(), conversations(), broken, st.just("")), min_size=1, max_size=30)
options = st.fixed_dictionaries(
    {"max_length": st.sampled_from([40, 90, 256])},
    optional={
        "truncate": st.sampled_from(["drop", "right", "left", "middle", "turns", "llamafactory"]),
        "dedup": st.sampled_from([{"exact": True}, {"exact": False, "near": {}}]),
        "clean": st.sampled_from([{"length": {"min_chars": 10}}, {"presets": ["sft"]}, {"repair": {}}]),
        "augment": st.just([{"kind": "words", "copies": 2, "rate": 0.3}]),
    },
)


def _prepare(
    kitchen: Kitchen, rows: list[str], threads: int, **chosen: Any
) -> tuple[Prepared, dict[str, bytes]] | None:
    from fastft.core.errors import DataError

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        # a row that is good, so that there is something to learn from
        path.write_text("\n".join([*rows, json.dumps(chat("What is it?", "It is a good answer."))]), "utf-8")
        source = {"path": str(path), "name": "rows", "format": {"kind": "openai"}}
        alone = Kitchen(kitchen.tokenizer, Path(folder) / "cache")
        try:
            prepared = alone.prepare(source, threads=threads, **chosen)
        except DataError as error:
            if error.code == "data.empty":
                return None
            raise
        content = {file.name: file.read_bytes() for file in prepared.train.folder.iterdir() if file.suffix == ".arrow"}
        for name in ("rejected.jsonl", "left_out.jsonl"):
            content[name] = (prepared.train.folder / name).read_bytes().replace(str(path).encode(), b"")
        return prepared, content


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=lines, chosen=options)
def test_books_balance_threads_agree_and_every_row_ends_as_its_template_says(
    kitchen: Kitchen, rows: list[str], chosen: dict[str, Any]
) -> None:
    made = _prepare(kitchen, rows, 1, **chosen)
    again = _prepare(kitchen, rows, 8, **chosen)
    if made is None or again is None:
        assert (made is None) == (again is None)
        return
    prepared, content = made
    assert content == again[1]
    total = prepared.books["total"]
    ways = ("filtered", "duplicates", "quarantined", "dropped")
    assert total["read"] == total["used"] + sum(sum(total[way].values()) for way in ways)
    assert total["read"] == 1 + sum(bool(row.strip()) for row in rows)
    assert len(content["rejected.jsonl"].splitlines()) == sum(total["quarantined"].values())
    assert len(content["left_out.jsonl"].splitlines()) == sum(
        sum(total[way].values()) for way in ways if way != "quarantined"
    )
    end = kitchen.tokenizer.eos_id
    newline = Tokenizer.from_file(str(kitchen.tokenizer.folder / "tokenizer.json")).token_to_id("Ċ")
    for index in range(len(prepared.train)):
        ids, trained = prepared.train.document(index)
        assert any(trained)
        assert len(ids) <= chosen["max_length"]
        last = max(place for place, flag in enumerate(trained) if flag)
        assert ids[last] == end, "the last trained token ends the turn"
        assert ids[last + 1 :] in ([], [newline])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(conversations(), min_size=1, max_size=40), micro=st.integers(1, 4), step=st.integers(1, 6))
def test_each_row_is_in_an_epoch_once_and_no_batch_is_without_a_target(
    kitchen: Kitchen, rows: list[str], micro: int, step: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("\n".join([*rows, json.dumps(chat("q", "a"))]), "utf-8")
        prepared = Kitchen(kitchen.tokenizer, Path(folder) / "cache").prepare(
            {"path": str(path), "format": {"kind": "openai"}}
        )
        batches = Batches(
            prepared.train, max_length=256, packing="best-fit", windows_per_step=step, micro=micro, seed=3
        )
        seen = []
        for _ in range(batches.steps_in_epoch()):
            for batch in batches.next_step():
                assert batch.num_targets > 0
                bounds = batch.cu_seqlens.tolist()
                ids = batch.input_ids[0].tolist()
                seen += [tuple(ids[a:b]) for a, b in itertools.pairwise(bounds)]
        assert sorted(seen) == sorted(tuple(ids) for ids in ids_of(prepared))


@pytest.mark.parametrize(
    "change",
    [
        {"clean": {"length": {"min_chars": 3}}},
        {"clean": {"length": {"min_chars": 4}}},
        {"dedup": {"exact": True}},
        {"dedup": {"exact": True, "near": {}}},
        {"augment": [{"kind": "words"}]},
        {"augment": [{"kind": "words", "rate": 0.5}]},
        {"truncate": "middle"},
        {"truncate": "llamafactory"},
    ],
)
def test_each_option_that_changes_rows_has_a_key_of_its_own(
    kitchen: Kitchen, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"question {n}", f"an answer {n}") for n in range(8)])
    keys = {kitchen.prepare(path).key, kitchen.prepare(path, **change).key}
    assert len(keys) == 2
    assert kitchen.prepare(path, **change).cached
