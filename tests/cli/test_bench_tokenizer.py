"""`benches/tokenizer`: who is exact, who is not, who is absent, and that ratios are taken inside a round."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benches" / "tokenizer"
TOKENIZER = ROOT / "tests" / "templates" / "fixtures" / "chatml_tokenizer.json"
TEXTS = ["Hello there", "<|im_start|>user\nGrüße 你好<|im_end|>", "", "a  b\n\n12345"]
PARTS = ("engines", "figures", "once", "ranks", "sides", "table", "texts")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's modules, which find one another by the folder that they lie in."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in PARTS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield type("Parts", (), {name: importlib.import_module(name) for name in PARTS})
    for name in PARTS:
        sys.modules.pop(name, None)


ODD = """
import json, os, sys
from engines import ENGINES, Tokenizers
from once import apart

class Wrong(Tokenizers):
    def ids(self, found):
        first, *rest = super().ids(found)
        return [first[4:], *rest]

class Absent(Tokenizers):
    package = "no-such-distribution"

class Older(Tokenizers):
    pinned = "0.0.1"

class Refusing(Tokenizers):
    def __init__(self, path, threads):
        raise ValueError("no Digits\\nin a second line")

class Crashing(Tokenizers):
    def encode(self, texts):
        os._exit(7)

tokenizer, texts = sys.argv[1:]
engines = {"tokenizers": Tokenizers, "fastft": ENGINES["fastft"], "wrong": Wrong, "absent": Absent, "older": Older}
engines |= {"refusing": Refusing, "crashing": Crashing}
request = {"tokenizer": tokenizer, "texts": texts, "threads": 1, "cores": None}
print(json.dumps({name: apart(engine, request) for name, engine in engines.items()}))
"""


def test_ours_is_exact_and_what_has_other_ids_is_absent_refuses_or_ends_is_told(bench: Any, tmp_path: Path) -> None:
    script, texts = tmp_path / "odd.py", tmp_path / "texts.json"
    script.write_text(ODD)
    texts.write_text(json.dumps(TEXTS))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{FOLDER}"}
    words = [sys.executable, str(script), str(TOKENIZER), str(texts)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(done.stdout)]
    found = bench.figures.cell(rounds, rounds)["engines"]
    assert {name: entry["state"] for name, entry in found.items()} == {
        "tokenizers": "exact",
        "fastft": "exact",
        "wrong": "differs",
        "absent": "not installed",
        "older": "not installed",
        "refusing": "refuses",
        "crashing": "fails",
    }
    assert (found["wrong"]["texts"], found["wrong"]["of"]) == (1, len(TEXTS))
    assert found["refusing"]["reason"] == "no Digits"
    assert found["crashing"]["reason"] == "the process ended with 7"
    told = {name: bench.table.rated(entry) for name, entry in found.items()}
    assert told["wrong"].endswith("; 1 of 4 differ)")
    assert (told["absent"], told["refusing"], told["crashing"]) == ("not installed", "refuses", "fails")


def measured(cold: float, digest: str = "a", state: str = "measured", warm: float = 1.0) -> dict[str, Any]:
    clock = {"bytes": 1_000_000}
    return {
        "state": state,
        "cold": {"cpu": cold, "wall": cold, **clock},
        "warm": {"cpu": warm, "wall": warm, **clock},
        "digests": [digest, "b"],
        "load": clock | {"cpu": 0.1},
        "steady": True,
        "tokens": 2,
    }


def test_ratios_are_taken_inside_rounds_and_the_best_exact_engine_is_the_rival(bench: Any) -> None:
    rounds = [
        {"tokenizers": measured(8), "fastft": measured(1), "quick": measured(2), "wrong": measured(0.1, "x")},
        {"tokenizers": measured(80), "fastft": measured(20), "quick": measured(10)},
        {"tokenizers": measured(16), "fastft": measured(1), "quick": measured(1)},
    ]
    found = bench.figures.cell(rounds, [])
    ours = found["engines"]["fastft"]
    assert ours["times_reference"] == {"median": 8, "min": 4, "max": 16}
    assert found["best"] == {"engine": "quick", "times": {"median": 1, "min": 0.5, "max": 2}}
    assert found["engines"]["wrong"]["state"] == "differs"
    assert found["engines"]["wrong"]["cold"]["median"] == pytest.approx(10)
    mean = bench.figures.means([{"tokenizer": "t", "kind": "en", **found}])["all"]
    assert mean["times_best"] == pytest.approx(1)
    assert (mean["engines"]["quick"]["exact"], mean["engines"]["wrong"]["exact"]) == (1, 0)


def test_two_threads_are_judged_by_the_clock_and_their_ids_count(bench: Any) -> None:
    one = [{"tokenizers": measured(8), "fastft": measured(1), "quick": measured(1)}]
    two = [{"tokenizers": measured(4), "fastft": measured(0.5), "quick": measured(0.25, "x")}]
    found = bench.figures.cell(one, two)
    assert found["engines"]["quick"]["state"] == "differs"
    assert found["second_thread"]["median"] == 2
    assert found["best_two_threads"] == {"engine": "tokenizers", "times": {"median": 8, "min": 8, "max": 8}}


def test_slow_and_inexact_engines_are_asked_once(bench: Any) -> None:
    first = {
        "tokenizers": measured(8),
        "fastft": measured(0.1),
        "quick": measured(1),
        "close": measured(1.9),
        "slow": measured(2.1),
        "wrong": measured(0.1, "x"),
        "absent": {"state": "not installed"},
    }
    assert [name for name in first if bench.figures.rival(first, name)] == ["tokenizers", "fastft", "quick", "close"]


def test_ids_that_change_in_the_second_pass_are_not_exact(bench: Any) -> None:
    reference = measured(1)
    assert bench.figures.verdict({**reference, "steady": False}, reference)["state"] == "differs"
    assert bench.figures.verdict({**reference, "digests": ["a"]}, reference) == {
        "state": "differs",
        "texts": 1,
        "of": 2,
    }


def test_what_tiktoken_can_not_stand_for_is_refused(bench: Any, tmp_path: Path) -> None:
    description = {**json.loads(TOKENIZER.read_text("utf-8")), "normalizer": None}
    path = tmp_path / "tokenizer.json"

    def refused(**changes: Any) -> str:
        path.write_text(json.dumps(description | changes))
        with pytest.raises(bench.ranks.Refused) as error:
            bench.ranks.Ranks.read(path)
        return str(error.value)

    assert refused(normalizer={"type": "NFC"}) == "normalizer NFC"
    assert refused(pre_tokenizer={"type": "Digits"}) == "pre-tokenizer Digits"
    assert refused(pre_tokenizer=None) == "0 splits one after the other"
    assert refused(model={"type": "Unigram"}) == "Unigram that is not byte-level BPE"


def test_rows_of_any_packing_and_shape_become_texts(bench: Any, tmp_path: Path) -> None:
    rows = [
        {"text": "one"},
        {"chosen": "two", "rejected": "no"},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"instruction": "c", "input": "d", "output": "e"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    for file in ("a.json", "a.jsonl.gz"):
        assert [bench.texts.row_text(row) for row in bench.texts.rows(tmp_path / file)] == [
            "one",
            "two",
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n",
            "<|im_start|>user\nc\nd<|im_end|>\n<|im_start|>assistant\ne<|im_end|>\n",
        ]


def test_the_whole_road_measures_keeps_and_makes_the_page(tmp_path: Path) -> None:
    (tmp_path / "all" / "tiny").mkdir(parents=True)
    (tmp_path / "all" / "tiny" / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": f"{text} {n}"}) + "\n" for n in range(50) for text in TEXTS)
    )
    page, kept = tmp_path / "page.md", tmp_path / "kept.json"
    page.write_text((ROOT / "docs" / "tokenizer.md").read_text("utf-8"), encoding="utf-8")
    words = [sys.executable, str(FOLDER / "bench.py"), "--out", str(kept)]
    options = ["--tokenizers", str(tmp_path / "all"), "--texts", f"en={tmp_path / 'rows.jsonl'}", "--kinds", "en"]
    small = ["--megabytes", "0.002", "--rounds", "1", "--engines", str(tmp_path), "--json"]
    done = subprocess.run([*words, *options, *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(kept.read_text())
    assert found["texts"]["en"]["source"] == "rows.jsonl"
    (cell,) = found["cells"]
    assert (cell["tokenizer"], cell["engines"]["fastft"]["state"]) == ("tiny", "exact")
    assert cell["engines"]["gigatoken"]["state"] == "not installed"
    assert cell["second_thread"]["median"] > 0
    assert found["load"]["tiny"]["fastft"]["first"]["median"] > 0
    subprocess.run([*words, "--table", str(page)], check=True)
    assert "| tiny en |" in page.read_text("utf-8")
    assert page.read_text("utf-8").count("<!--") == 2


def test_the_page_has_what_the_benchmark_kept(bench: Any) -> None:
    kept = ROOT / "benches" / "results" / "tokenizer.json"
    page = (ROOT / "docs" / "tokenizer.md").read_text("utf-8")
    told = page.partition(bench.table.BEGIN)[2].partition(bench.table.END)[0].strip()
    assert told == (bench.table.markdown(json.loads(kept.read_text("utf-8"))).strip() if kept.is_file() else "")
