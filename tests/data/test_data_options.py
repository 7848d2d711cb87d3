from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, chat, ids_of, write_jsonl

from fastft.core.errors import DataError
from fastft.data import preview
from fastft.stages.sft import SFT


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", [chat(f"question {n}", f"answer {n}") for n in range(40)])


def long_chat(turns: int) -> dict[str, Any]:
    messages = [{"role": "system", "content": "S"}]
    for turn in range(turns):
        messages += [{"role": "user", "content": f"q{turn}" * 5}, {"role": "assistant", "content": f"a{turn}" * 5}]
    return {"messages": messages}


def text_of(kitchen: Kitchen, ids: list[int]) -> str:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(kitchen.tokenizer.folder / "tokenizer.json"))
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def test_rows_takes_the_first_rows_only(kitchen: Kitchen, rows: Path) -> None:
    prepared = kitchen.prepare({"path": str(rows), "rows": 7})
    assert prepared.books["total"]["read"] == 7
    assert ids_of(prepared) == ids_of(kitchen.prepare(rows))[:7]


def test_names_tell_sources_apart(kitchen: Kitchen, rows: Path) -> None:
    prepared = kitchen.prepare({"path": str(rows)}, {"path": str(rows)}, {"path": str(rows), "name": "mine"})
    assert list(prepared.books["sources"]) == ["mine", "rows", "rows-2"]
    assert [source["name"] for source in prepared.sources] == ["rows", "rows-2", "mine"]
    assert prepared.sources[0]["rows"] == 40


def test_a_format_named_reads_other_columns(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"q": "one", "a": "two"}])
    with pytest.raises(DataError, match="can't be told"):
        kitchen.prepare(path)
    heard = Heard()
    source = {"path": str(path), "format": {"kind": "alpaca", "instruction": "q", "output": "a"}}
    prepared = kitchen.prepare(source, heard=heard)
    assert "one" in text_of(kitchen, ids_of(prepared)[0])
    assert "data.format-found" not in heard.codes()


@pytest.mark.parametrize(
    ("kind", "names", "row"),
    [
        ("alpaca", {}, {"instruction": "one", "input": "", "output": "two"}),
        (
            "alpaca",
            {"input": "i", "system": "s", "history": "h"},
            {"instruction": "", "i": "one", "output": "two", "s": "", "h": []},
        ),
        ("sharegpt", {}, {"conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "two"}]}),
        (
            "sharegpt",
            {"messages": "m", "role_tag": "r", "content_tag": "c", "user_tag": "u", "assistant_tag": "b"},
            {"m": [{"r": "u", "c": "one"}, {"r": "b", "c": "two"}]},
        ),
        ("openai", {}, chat("one", "two")),
        (
            "openai",
            {"messages": "m", "role_tag": "r", "content_tag": "c"},
            {"m": [{"r": "user", "c": "one"}, {"r": "assistant", "c": "two"}]},
        ),
    ],
)
def test_all_formats_make_the_same_tokens(
    kitchen: Kitchen, tmp_path: Path, kind: str, names: dict[str, str], row: dict[str, Any]
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    want = kitchen.prepare(write_jsonl(tmp_path / "want.jsonl", [chat("one", "two")])).train.document(0)
    assert kitchen.prepare({"path": str(path), "format": {"kind": kind, **names}}).train.document(0) == want
    if not names:
        assert kitchen.prepare(path).train.document(0) == want


def test_truncate_drop_counts_and_max_length_decides(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", "a" * 300)])
    heard = Heard()
    prepared = kitchen.prepare(path, heard=heard)
    assert prepared.books["total"]["dropped"] == {"too_long": 1}
    assert "data.dropped" in heard.codes()
    assert kitchen.prepare(path, max_length=512).books["total"]["dropped"] == {}


def test_truncate_error_names_the_row(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", "a" * 300)])
    with pytest.raises(DataError) as caught:
        kitchen.prepare(path, truncate="error")
    assert (caught.value.path, caught.value.line) == (str(path), 2)


def test_truncate_right_keeps_the_end_token_and_counts(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a" * 300)])
    prepared = kitchen.prepare(path, truncate="right")
    ids, trained = prepared.train.document(0)
    assert len(ids) == 256
    assert text_of(kitchen, ids).endswith("a<|im_end|>\n")
    end = len(ids) - 1 - ids[::-1].index(kitchen.tokenizer.eos_id)
    assert trained[end]
    total = prepared.books["total"]
    assert (total["cut_rows"], total["cut_tokens"]) == (1, len(ids_of(kitchen.prepare(path, max_length=1024))[0]) - 256)


def test_truncate_right_ends_no_question_with_an_end_token(kitchen: Kitchen, tmp_path: Path) -> None:
    talk = {"messages": [*chat("q", "first")["messages"], *chat("q" * 400, "second")["messages"]]}
    prepared = kitchen.prepare(write_jsonl(tmp_path / "rows.jsonl", [talk]), truncate="right")
    ids, trained = prepared.train.document(0)
    assert text_of(kitchen, ids).endswith("assistant\nfirst<|im_end|>")
    assert text_of(kitchen, [id_ for id_, flag in zip(ids, trained, strict=True) if flag]) == "first<|im_end|>"


def test_truncate_right_keeps_the_end_token_also_where_all_is_trained(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a" * 300)])
    prepared = kitchen.prepare(path, truncate="right", stage_options={"loss_on": "all"})
    ids, trained = prepared.train.document(0)
    assert (len(ids), all(trained)) == (256, True)
    assert text_of(kitchen, ids).endswith("a<|im_end|>\n")


def test_truncate_right_without_an_answer_left_is_quarantined(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q" * 300, "a")])
    assert kitchen.prepare(path, truncate="right").books["total"]["quarantined"] == {"E_NO_TARGET": 1}


def test_truncate_left_keeps_the_end(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q" * 300, "answer")])
    whole = ids_of(kitchen.prepare(path, max_length=1024))[0]
    assert ids_of(kitchen.prepare(path, truncate="left"))[0] == whole[-256:]


def test_truncate_turns_is_the_rendering_of_fewer_turns(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [long_chat(8)])
    ids = ids_of(kitchen.prepare(path, truncate="turns"))[0]
    text = text_of(kitchen, ids)
    assert len(ids) <= 256
    assert text.startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq")
    assert "a7a7" in text
    assert "q0q0" not in text
    fewer = long_chat(8)
    first = int(text.split("user\nq")[1][0])
    fewer["messages"] = fewer["messages"][:1] + fewer["messages"][1 + 2 * first :]
    want = ids_of(kitchen.prepare(write_jsonl(tmp_path / "fewer.jsonl", [fewer])))[0]
    assert ids == want
    fewer["messages"] = long_chat(8)["messages"][:1] + long_chat(8)["messages"][2 * first - 1 :]
    more = kitchen.prepare(write_jsonl(tmp_path / "more.jsonl", [fewer]), max_length=1024)
    assert len(ids_of(more)[0]) > 256, "no more turns than needed are left out"


def test_truncate_split_loses_no_token_of_a_text(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("x" * 700 + "\n")
    whole = ids_of(kitchen.prepare(path, stage="pretrain", max_length=1024))[0]
    prepared = kitchen.prepare(path, stage="pretrain", truncate="split")
    assert [len(ids) for ids in ids_of(prepared)] == [256, 256, 189]
    assert [id_ for ids in ids_of(prepared) for id_ in ids] == whole
    assert prepared.train.rows == 1


def test_truncate_split_trains_the_end_token_of_any_length(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("x" * 512 + "\n")
    prepared = kitchen.prepare(path, stage="pretrain", truncate="split")
    assert [len(ids) for ids in ids_of(prepared)] == [256, 255, 2]
    assert prepared.books["total"]["cut_tokens"] == 0


def test_a_long_text_is_split_in_memory_of_its_own_size(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("some words " * 400_000 + "\n")
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prepared = kitchen.prepare(path, stage="pretrain", truncate="split")
    assert len(prepared.train) > 17_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin < 1 << 20, "KB: a copy a piece would be 75 GB"


def test_text_documents_end_with_eos_and_units_differ(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n\nthree\n")
    for unit, want in [
        ("line", ["one", "two", "three"]),
        ("paragraph", ["one\ntwo", "three"]),
        ("file", ["one\ntwo\n\nthree"]),
    ]:
        prepared = kitchen.prepare({"path": str(path), "format": {"kind": "text", "unit": unit}}, stage="pretrain")
        assert [text_of(kitchen, ids) for ids in ids_of(prepared)] == [text + "<|im_end|>" for text in want]
        assert all(all(prepared.train.document(i)[1]) for i in range(len(want)))
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"body": "one"}])
    prepared = kitchen.prepare({"path": str(rows), "format": {"kind": "text", "column": "body"}}, stage="pretrain")
    assert text_of(kitchen, ids_of(prepared)[0]) == "one<|im_end|>"


def test_loss_on_chooses_answers(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [long_chat(2)])
    counts = [
        kitchen.prepare(path, stage_options={"loss_on": loss_on}).train.targets
        for loss_on in ("last_response", "response", "all")
    ]
    assert counts[0] < counts[1] < counts[2]


def test_special_in_text_plain_keeps_control_tokens_out(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("<|im_end|>", "a")])
    plain, parsed = (ids_of(kitchen.prepare(path, special_in_text=choice))[0] for choice in ("plain", "parse"))
    assert parsed.count(kitchen.tokenizer.eos_id) == plain.count(kitchen.tokenizer.eos_id) + 1


def test_thinking_is_kept_or_stripped_or_masked(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "<think>\n\n</think>\n\na")])
    keep, strip, mask = (kitchen.prepare(path, thinking=choice).train for choice in ("keep", "strip", "mask_empty"))
    assert keep.tokens == mask.tokens > strip.tokens
    assert keep.targets > mask.targets


def test_packing_none_gives_each_row_a_window(kitchen: Kitchen, rows: Path) -> None:
    from fastft.data import evaluation_batches

    store = kitchen.prepare(rows).train
    for packing, want in [("none", 40), ("best-fit", None)]:
        batches = list(evaluation_batches(store, max_length=256, packing=packing, micro=1))
        assert sum(len(batch.cu_seqlens) - 1 for batch in batches) == 40
        assert (len(batches) == want) if want else len(batches) < 40


def test_threads_change_no_byte(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}" * (n % 30 + 1), f"a{n}") for n in range(3000)])
    stores = []
    for threads in (1, 8):
        alone = Kitchen(kitchen.tokenizer, tmp_path / f"cache-{threads}")
        stores.append(alone.prepare(path, threads=threads).train.folder)
    for file in ("000000-00000.arrow", "rejected.jsonl", "manifest.json"):
        assert (stores[0] / file).read_bytes() == (stores[1] / file).read_bytes()


def test_other_programs_read_the_store(kitchen: Kitchen, rows: Path) -> None:
    import pyarrow as pa

    store = kitchen.prepare(rows).train
    with pa.memory_map(str(store.folder / "000000-00000.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.num_rows == 40
    assert str(table.schema.field("ids").type).startswith("list<item: uint16")
    assert table["ids"][3].as_py() == store.document(3)[0]
    assert table["line"].to_pylist() == list(range(1, 41))


def test_preview_shows_rows_as_they_are_stored(kitchen: Kitchen, rows: Path) -> None:
    with rows.open("a") as file:
        file.write("broken\n")
    config = kitchen.config(rows)
    shown = list(preview(config, SFT(), kitchen.tokenizer, rows=3, cache=kitchen.cache))
    store = kitchen.prepare(rows).train
    assert [row.row for row in shown] == [0, 1, 2]
    for index, row in enumerate(shown):
        assert (row.ids, [bool(flag) for flag in row.trained]) == store.document(index)
        assert row.text == text_of(kitchen, row.ids)


def test_relative_paths_are_looked_for_beside_the_config(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = tmp_path / "here", tmp_path / "beside"
    here.mkdir(), beside.mkdir()
    monkeypatch.chdir(here)
    write_jsonl(beside / "rows.jsonl", [chat("beside", "a")])
    assert kitchen.prepare(Path("rows.jsonl"), config_dir=beside).train.place(0)[0] == str(beside / "rows.jsonl")
    write_jsonl(here / "rows.jsonl", [chat("here", "a")])
    assert kitchen.prepare(Path("rows.jsonl"), config_dir=beside).train.place(0) == ("rows.jsonl", 1)


def test_folders_and_patterns_name_their_files_in_order(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl"):
        write_jsonl(tmp_path / name, [chat(name, "x")])
    (tmp_path / "notes.bin").write_text("no data")
    for pattern, want in [("", ["a", "b", "c"]), ("*.jsonl", ["a", "b"]), ("**/*.jsonl", ["a", "b", "c"])]:
        prepared = kitchen.prepare(tmp_path / pattern)
        files = [Path(file["path"]).stem for file in prepared.sources[0]["files"]]
        assert files == want


def test_a_pattern_that_python_does_not_have_is_looked_for_beside_the_config(
    kitchen: Kitchen, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = {"path": f"**{rows.stem}*.jsonl"}
    assert kitchen.prepare(source, config_dir=rows.parent).train.rows == len(rows.read_text().splitlines())


def test_paths_with_spaces_and_unicode_are_read_and_named(kitchen: Kitchen, tmp_path: Path) -> None:
    folder = tmp_path / "my dätä 你好 🙂"
    folder.mkdir()
    path = write_jsonl(folder / "rows é.jsonl", [chat("q", "a"), 3])
    prepared = kitchen.prepare(path, out=tmp_path)
    assert prepared.train.place(0) == (str(path), 1)
    assert json.loads((tmp_path / "data" / "rejected.jsonl").read_text("utf-8"))["file"] == str(path)


def test_progress_is_told_while_the_engine_works(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    monkeypatch.setattr(importlib.import_module("fastft.data.watch"), "PROGRESS_SECONDS", 0.01)
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n}" * 20, f"a{n}" * 10) for n in range(20_000)])
    heard = Heard()
    kitchen.prepare(path, heard=heard, threads=1)
    told = [event.record() for event in heard.events if event.event == "data_progress"]
    assert told
    assert told[-1]["total_bytes"] == path.stat().st_size
    assert [event["rows"] for event in told] == sorted(event["rows"] for event in told)


def test_the_split_is_by_content_and_seed(kitchen: Kitchen, tmp_path: Path) -> None:
    some = [chat(f"q{n}", "a") for n in range(300)]
    path = write_jsonl(tmp_path / "rows.jsonl", some)
    prepared = kitchen.prepare(path, eval_fraction=0.1)
    assert prepared.eval is not None
    assert prepared.train.rows + prepared.eval.rows == 300
    assert 10 <= prepared.eval.rows <= 55
    aside = {json.dumps(prepared.eval.document(i)) for i in range(len(prepared.eval))}
    more = kitchen.prepare(
        write_jsonl(tmp_path / "more.jsonl", [chat(f"new{n}", "a") for n in range(50)] + some), eval_fraction=0.1
    )
    assert more.eval is not None
    assert aside <= {json.dumps(more.eval.document(i)) for i in range(len(more.eval))}
    other = kitchen.prepare(path, eval_fraction=0.1, seed=2)
    again = kitchen.prepare(path, eval_fraction=0.1, seed=1)
    assert other.eval is not None
    assert again.eval is not None
    assert {json.dumps(other.eval.document(i)) for i in range(len(other.eval))} != aside
    assert {json.dumps(again.eval.document(i)) for i in range(len(again.eval))} == aside
    one = kitchen.prepare(path, eval_fraction=1e-9)
    assert one.eval is not None
    assert one.eval.rows == 1


def test_eval_sources_are_prepared_apart(kitchen: Kitchen, rows: Path, tmp_path: Path) -> None:
    held = write_jsonl(tmp_path / "held.jsonl", [chat("held", "out")])
    prepared = kitchen.prepare(rows, eval_sources=(held,), eval_fraction=0.5)
    assert prepared.eval is not None
    assert (prepared.train.rows, prepared.eval.rows) == (40, 1)
    assert prepared.books["eval"]["total"]["read"] == 1


def test_a_template_that_transformers_has_to_render_is_told_once(kitchen: Kitchen, tmp_path: Path) -> None:
    differs = tmp_path / "differs.jinja"
    differs.write_text(
        "{% for tool in tools %}{{ tool.name }}{% endfor %}{{ '' | safe + '>' }}"  # escaped by transformers
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "utf-8",
    )
    rows = write_jsonl(tmp_path / "rows.jsonl", [chat("hi", "ho") | {"tools": [{"name": "look"}]}])
    heard = Heard()
    kitchen.prepare(rows, template=str(differs), stage_options={"loss_on": "all"}, heard=heard)
    assert heard.codes().count("data.template-in-python") == 1
