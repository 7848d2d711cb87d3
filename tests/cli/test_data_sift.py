"""`fastft data clean`, `dedup` and `mix`: rows in, rows out, and nothing lost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny

from fastft.cli import main as entry

CONFIG = """
[model]
path = "model"
[data]
train = [{path = "a.jsonl"}, {path = "b.json"}]
max_length = 128
[stage]
kind = "sft"
[method]
kind = "lora"
[optimizer]
kind = "adamw"
"""
MOJIBAKE = "cafÃ© au lait"


def row(question: str, answer: str) -> dict[str, str]:
    return {"instruction": question, "output": answer}


A = [
    '{"instruction":   "one",  "output": "the first answer"}',
    json.dumps(row("two", "the second answer"), ensure_ascii=True),
    "broken",
    json.dumps(row("one", "the first answer")),
    json.dumps(row("three", MOJIBAKE), ensure_ascii=False),
    json.dumps(row("four", "x")),
]
B = [row("one", "the first answer"), row("five", "another answer entirely")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sift")
    (folder / "model").mkdir()
    tiny.tokenizer().save_pretrained(folder / "model")
    (folder / "a.jsonl").write_text("\n".join(A) + "\n", "utf-8")
    (folder / "b.json").write_text(json.dumps(B, indent=1), "utf-8")
    (folder / "run.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(word: str, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = entry.run(["data", word, str(project / "run.toml"), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@pytest.mark.parametrize("threads", ["1", "4"])
def test_dedup_keeps_the_first_byte_for_byte_and_names_it_for_the_others(
    run: Any, tmp_path: Path, project: Path, threads: str
) -> None:
    code, out, err = run("dedup", "--out", "kept.jsonl", "--json", "--set", f"data.threads={threads}")
    assert code == 0, err
    kept = lines(tmp_path / "kept.jsonl")
    assert kept[:4] == [A[0], A[1], A[4], A[5]]
    assert [json.loads(text) for text in kept[4:]] == [B[1]]
    dropped = [json.loads(text) for text in lines(tmp_path / "kept.dropped.jsonl")]
    assert [(entry["line"], entry["rule"]) for entry in dropped] == [
        (3, "E_JSON"),
        (4, "duplicate.exact"),
        (2, "duplicate.exact"),
    ]
    first = {"file": str(project / "a.jsonl"), "line": 1}
    assert dropped[1]["of"] == dropped[2]["of"] == first
    for book in json.loads(out)["sources"]:
        left_out = sum(sum(book[part].values()) for part in ("filtered", "duplicates", "quarantined"))
        assert book["read"] == book["kept"] + left_out


def test_clean_repairs_drops_and_keeps(run: Any, tmp_path: Path) -> None:
    rules = "data.clean={repair={}, length={min_chars=8}}"
    code, out, err = run("clean", "--out", "new/kept.jsonl", "--set", rules)
    assert code == 0, err
    kept = lines(tmp_path / "new" / "kept.jsonl")
    assert kept[:3] == [A[0], A[1], A[3]]
    assert json.loads(kept[3]) == row("three", "café au lait")
    assert len(kept) == 6
    dropped = [json.loads(text) for text in lines(tmp_path / "new" / "kept.dropped.jsonl")]
    assert [(entry["line"], entry["rule"].split(".")[0]) for entry in dropped] == [(3, "E_JSON"), (6, "length")]
    assert dropped[1]["row"] == A[5]
    assert out.startswith("source  read  kept  repaired")
    assert "1 E_JSON" in out
    assert "kept.dropped.jsonl" in err


def test_clean_without_rules_says_so(run: Any) -> None:
    code, _, err = run("clean", "--out", "kept.jsonl")
    assert code == 3
    assert "neither `data.clean` nor `data.decontaminate`" in err


def test_no_file_is_written_over(run: Any, tmp_path: Path) -> None:
    (tmp_path / "kept.jsonl").write_text("mine\n")
    code, _, err = run("dedup", "--out", "kept.jsonl")
    assert (code, "is there already" in err) == (5, True)
    assert lines(tmp_path / "kept.jsonl") == ["mine"]
    code, _, err = run("dedup", "--out", "/proc/kept.jsonl")
    assert (code, "can't be written" in err, "Traceback" in err) == (5, True, False)


def test_mix_shows_what_an_epoch_is_made_of(run: Any, tmp_path: Path) -> None:
    repeat = ("--set", "data.train.1.repeat=3")
    told = json.loads(run("mix", "--json", "--rows", "4", "--out", "order.jsonl", *repeat)[1])
    assert [each["documents"] for each in told["sources"]] == [5, 6]
    every = [json.loads(text) for text in lines(tmp_path / "order.jsonl")]
    assert every[:4] == told["rows"]
    assert [sample["place"] for sample in every] == list(range(11))
    assert Counter(sample["source"] for sample in every) == {"a": 5, "b": 6}
    other = json.loads(run("mix", "--json", "--rows", "11", "--epoch", "1", *repeat)[1])["rows"]
    assert [(each["source"], each["row"]) for each in other] != [(each["source"], each["row"]) for each in every]
    assert sorted((each["source"], each["row"]) for each in other) == sorted(
        (each["source"], each["row"]) for each in every
    )
    _, out, _ = run("mix", "--rows", "1")
    assert out.startswith("source  documents  tokens  share\n")
    assert "place  source" in out
