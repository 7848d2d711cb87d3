"""The whole road by its commands, on a tiny random model: what scripts may rely on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fastft.cli import main as entry

pytestmark = pytest.mark.slow

CONFIG = """\
name = "tiny"
seed = 3
steps = 4
device = "cpu"
[model]
path = "{model}"
[data]
max_length = 128
[[data.train]]
path = "rows.jsonl"
[stage]
kind = "sft"
[method]
kind = "lora"
rank = 4
[optimizer]
kind = "adamw"
lr = 1e-2
[batch]
windows = 2
[checkpoint]
every = 2
[log]
tensorboard = false
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, rows (one of them broken) and a config."""
    tiny = pytest.importorskip("tiny")
    folder: Path = tmp_path_factory.mktemp("road")
    tiny.folder(folder / "model")
    rows = [json.dumps({"instruction": f"count to {n}", "output": " ".join(map(str, range(n)))}) for n in range(1, 20)]
    (folder / "rows.jsonl").write_text("\n".join([*rows, '{"instruction": "cut']) + "\n")
    (folder / "run.toml").write_text(CONFIG.format(model=folder / "model"))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = entry.run(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_1_a_preview_gives_ids_and_marks(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "data", "preview", "run.toml", "--rows", "2", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["source"], row["row"]) for row in rows] == [("rows", 0), ("rows", 1)]
    for row in rows:
        assert list(row)[:5] == ["source", "row", "text", "ids", "trained"]
        assert list(row)[5:] == ["changed", "cut", "copy", "file", "line", "dropped", "detail"]
        assert row["line"] == row["row"] + 1
        assert row["file"].endswith("rows.jsonl")
        assert len(row["ids"]) == len(row["trained"])
        assert set(row["trained"]) == {0, 1}
    code, out, _ = run(capsys, "data", "preview", "run.toml", "--rows", "2")
    assert re.search(r"^rows, .*rows\.jsonl:1\n", out)
    assert ">>0 1<|im_end|>" in out
    assert "tokens, " in out


def test_2_broken_rows_are_told_beside_the_preview(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "preview", "run.toml", "--rows", "30", "--json")
    assert code == 0
    *good, bad = (json.loads(line) for line in out.splitlines())
    assert len(good) == 19
    assert not any("code" in row for row in good)
    assert bad.pop("reason")
    assert bad.pop("file").endswith("rows.jsonl")
    assert bad == {"source": "rows", "row": 19, "line": 20, "path": None, "code": "E_JSON"}
    assert "warning[data.quarantined]: " in err
    assert "rows.jsonl:20" in err


def test_3_a_dry_run_tells_config_books_and_plan_and_leaves_no_run(
    capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    code, out, _ = run(capsys, "train", "run.toml", "--dry-run", "--set", "optimizer.lr=0.5", "--out", "planned")
    assert code == 0
    assert any(line.startswith("lr = 0.5") and line.endswith("# --set") for line in out.splitlines())
    assert "1 E_JSON" in out
    assert "steps   4, " in out
    code, out, _ = run(capsys, "train", "run.toml", "--dry-run", "--json")
    told = json.loads(out)
    assert (told["steps"], told["data"]["books"]["total"]["used"]) == (4, 19)
    assert not (place / "planned").exists()
    assert not (place / "runs").exists()
    code, out, err = run(capsys, "train", "run.toml", "--dry-run", "--set", "data.streaming=true")
    assert code == 0, err
    assert "steps   4, about " in out
    assert any(line.split()[:3] == ["rows", "alpaca", "1"] for line in out.splitlines())


def test_4_training_ends_with_a_run(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    code, out, err = run(capsys, "train", "run.toml", "--out", "runs/tiny/one", "--json")
    assert code == 0, err
    told = json.loads(out.splitlines()[-1])
    assert (told["status"], told["step"], told["path"]) == ("finished", 4, "runs/tiny/one")
    steps = [json.loads(line) for line in (place / "runs/tiny/one/events.jsonl").read_text().splitlines()]
    steps = [event for event in steps if event["event"] == "step"]
    assert {"step", "loss", "lr", "grad_norm", "tokens", "seconds"} <= set(steps[0])
    assert "# run.toml:" in (place / "runs/tiny/one/config.toml").read_text()


def test_5_a_finished_run_is_not_trained_again(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    before = (place / "runs/tiny/one/events.jsonl").read_bytes()
    code, _, _ = run(capsys, "train", "run.toml", "--out", "runs/tiny/one")
    assert code == 0
    assert (place / "runs/tiny/one/events.jsonl").read_bytes() == before


def test_6_another_config_in_the_same_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "run.toml", "--out", "runs/tiny/one", "--set", "method.rank=8")
    assert code == 7
    assert "method.rank" in err


def test_7_runs_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(run(capsys, "runs", "list", "--json")[1])
    assert [one["name"] for one in listed] == ["tiny"]
    table = run(capsys, "runs", "list")[1].splitlines()
    assert table[0].split() == ["run", "status", "steps", "loss", "eval", "stage", "model", "began"]
    assert table[1].split()[:3] == ["runs/tiny/one", "finished", "4/4"]
    shown = run(capsys, "runs", "show", "tiny")[1]
    assert "step-00000004" in shown
    told: dict[str, Any] = json.loads(run(capsys, "runs", "show", "tiny", "--json")[1])
    assert told["status"] == "finished"
    assert told["checkpoints"][-1]["step"] == 4


def test_8_a_run_answers(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("chat", "tiny", "--once", "count to 3", "--max-tokens", "4")
    code, plain, _ = run(capsys, *words)
    assert code == 0
    told = json.loads(run(capsys, *words, "--json", "--beside-base")[1])
    assert told["question"] == "count to 3"
    assert plain.strip("\n") == told["answer"].strip("\n")
    assert told["before"] != told["answer"]
    drawn = [run(capsys, *words, "--temperature", "2", "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]
    assert run(capsys, *words, "--system", "Be brief")[0] == 0
    longer = run(capsys, "chat", "tiny", "--once", "count to 3", "--max-tokens", "9")[1]
    assert len(longer) > len(plain)


def test_9_an_export_is_a_folder_that_answers_alike(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    code, out, _ = run(capsys, "export", "tiny", "--merge", "merged", "--json")
    assert code == 0
    assert json.loads(out)["difference"] <= 1e-4
    answers = [run(capsys, "chat", name, "--once", "count to 5", "--max-tokens", "6")[1] for name in ("tiny", "merged")]
    assert answers[0] == answers[1]
    assert run(capsys, "export", "tiny", "--merge", "merged")[0] == 3
    code, out, _ = run(capsys, "export", "tiny", "--merge", "half", "--dtype", "bfloat16", "--json")
    assert (code, json.loads(out)["dtype"]) == (0, "bfloat16")


def test_bad_words_for_a_run_are_usage_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "runs", "show", "tinny")
    assert code != 0
    assert "did you mean `tiny`?" in err
    code, _, err = run(capsys, "chat", "no/such/model", "--once", "x")
    assert code == 5
    assert "error[model." in err
