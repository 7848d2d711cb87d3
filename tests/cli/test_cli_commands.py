"""What each command prints; their bodies are tested where they live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastft.cli.bench import BENCHES
from fastft.cli.data.preview import painted


def test_check_says_ok_on_stdout_and_problems_on_stderr(fastft: Any) -> None:
    good = fastft("config", "check", "run.toml")
    assert (good.code, good.out, good.err) == (0, "ok  run.toml\n", "")
    bad = fastft("config", "check", "run.toml", "--set", "sead=1", "--set", "epochs=0")
    assert (bad.code, bad.out) == (3, "")
    assert bad.err.endswith("\n2 problems\n")


def test_check_takes_several_configs_and_tells_all(fastft: Any) -> None:
    (fastft.folder / "two.toml").write_text("sead = 1\n")
    answer = fastft("config", "check", "two.toml", "run.toml", "three.toml")
    assert (answer.code, answer.out) == (3, "ok  run.toml\n")
    assert "two.toml:1" in answer.err
    assert "there is no file `three.toml`" in answer.err


def test_check_gives_scripts_the_problems_as_json(fastft: Any) -> None:
    answer = fastft("config", "check", "run.toml", "--json", "--set", "method.rnak=1")
    told = json.loads(answer.out)
    assert (answer.code, told["ok"]) == (3, False)
    assert told["problems"][0]["key"] == "method.rnak"
    assert told["problems"][0]["origin"]["source"] == "--set method.rnak=1"
    assert json.loads(fastft("config", "check", "run.toml", "--json").out) == {"ok": True, "problems": []}


def test_show_prints_a_config_that_loads_again(fastft: Any) -> None:
    shown = fastft("config", "show", "run.toml", "--set", "seed=7")
    (fastft.folder / "shown.toml").write_text(shown.out)
    assert fastft("config", "show", "shown.toml").out == shown.out
    origins = fastft("config", "show", "run.toml", "--set", "seed=7", "--origin").out
    assert any(line.startswith("seed = 7 ") and line.endswith("# --set") for line in origins.split("\n"))
    assert any(line.startswith('kind = "lora" ') and line.endswith("# run.toml:8") for line in origins.split("\n"))
    listed = json.loads(fastft("config", "show", "run.toml", "--json").out)
    assert {"key": "method.rank", "value": 16, "origin": "default"} in listed


def test_schema_is_what_the_repository_holds(fastft: Any, root: Path) -> None:
    assert fastft("config", "schema").out == (root / "configs" / "fastft.schema.json").read_text(encoding="utf-8")


def test_explain_says_what_a_key_means(fastft: Any) -> None:
    assert fastft("config", "explain", "method.rank").out == (
        'method.rank  (kind = "lora")\n'
        "  whole number, > 0; default 16\n"
        "  Width r of the update.\n"
        "\n"
        "  in a file:  [method] rank = 16\n"
        "  once:       --set method.rank=16\n"
    )
    assert json.loads(fastft("config", "explain", "seed", "--json").out)[0]["default"] == "42"
    page = fastft("config", "explain", "--all", "--markdown").out
    assert page.startswith("# Every key of a config\n")
    assert "`max_length`" in fastft("config", "explain", "--all", "--markdown").out


@pytest.mark.parametrize("words", [(), ("seed", "--all"), ("seed", "--markdown")])
def test_explain_wants_one_question(fastft: Any, words: tuple[str, ...]) -> None:
    assert fastft("config", "explain", *words).code == 2


def test_what_explain_proposes_can_be_typed(fastft: Any) -> None:
    """Each `--set` line of `explain` loads, for keys whose example is a real value."""
    from fastft.cli.explain import _on_command_line
    from fastft.config.explain import entries
    from fastft.config.load import load

    unasked = (
        "data.eval.",
        "data.decontaminate.",
        "data.augment.",
        "data.clean.language.",
    )  # lists, and what needs more than one key
    tried = 0
    for entry in entries():
        no_value = " = " not in entry.example or entry.example.endswith("= []")
        if entry.kinds or entry.default is None or no_value or entry.path.startswith(unasked):
            continue
        word = _on_command_line(entry).strip("'")
        kind = [f'{entry.path.rpartition(".")[0]}={{kind="{entry.kind}"}}'] if entry.kind else []
        kind = [
            word.replace("data.train.", "data.train.0.") if word.startswith("data.train.") else word for word in kind
        ]
        load(fastft.folder / "run.toml", [*kind, word])
        tried += 1
    assert tried > 30


def test_init_writes_a_config_that_loads_and_never_over_another(fastft: Any) -> None:
    answer = fastft("config", "init", "new/my.toml", "--data", "rows.jsonl", "--model", "owner/name")
    assert answer.code == 0
    assert fastft("config", "check", "new/my.toml").code == 0
    assert 'name = "my"' in (fastft.folder / "new" / "my.toml").read_text()
    again = fastft("config", "init", "new/my.toml")
    assert again.code == 2
    assert fastft("config", "init", "new/my.toml", "--force").code == 0


def test_train_refuses_a_bad_config_before_anything_is_made(fastft: Any) -> None:
    answer = fastft("train", "run.toml", "--set", "method.rank=0", "--out", "there")
    assert answer.code == 3
    assert not (fastft.folder / "there").exists()
    assert not (fastft.folder / "runs").exists()


def test_no_runs_are_no_error(fastft: Any) -> None:
    answer = fastft("runs", "list")
    assert (answer.code, answer.out, answer.err) == (0, "", "no runs in runs\n")
    assert fastft("runs", "list", "--json").out == "[]\n"


def test_doctor_answers_as_text_and_as_json(fastft: Any) -> None:
    text = fastft("doctor", "--fast", env={"FASTFT_CACHE": str(fastft.folder / "cache")})
    assert text.code in (0, 5)
    for word in ("python", "torch", "data engine", "no tokenizer was used yet", "FASTFT_CACHE"):
        assert word in text.out
    told = json.loads(fastft("doctor", "--fast", "--json").out)
    assert told["ok"] == (text.code == 0)
    assert {finding["state"] for finding in told["findings"]} <= {"ok", "missing", "bad"}


def test_a_package_that_is_too_old_is_told_with_the_line_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastft.cli import doctor

    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    found = {finding.name: finding for finding in doctor._packages()}
    assert found["torch"].state == "bad"
    assert found["torch"].value.startswith("0.0.1, needs ")
    assert found["torch"].hint is not None
    assert found["torch"].hint.startswith("pip install 'torch")


@pytest.mark.slow
def test_doctor_says_which_kernel_serves_which_op(fastft: Any) -> None:
    told = json.loads(fastft("doctor", "--json").out)
    ops = {finding["name"]: finding["value"] for finding in told["findings"] if finding["part"] == "ops"}
    assert ops["linear_cross_entropy"].startswith("cpu: ")


def test_bench_knows_its_scripts_and_passes_words_on(fastft: Any, root: Path) -> None:
    for script in BENCHES.values():
        assert (root / "benches" / script).is_file(), script
    assert fastft("bench", "nothing").code == 2
    answer = fastft("bench", "startup", "--help")
    assert answer.code == 0


def test_trained_text_is_marked_in_the_preview() -> None:
    words = ["<u>", "hi", "<a>", "yes", "</a>"]

    def decode(ids: list[int]) -> str:
        return "".join(words[i] for i in ids)

    assert painted([0, 1, 2, 3, 4], [0, 0, 0, 1, 1], decode) == "<u>hi<a>>>yes</a><<"
    assert painted([3], [1], decode) == ">>yes<<"
    assert painted([], [], decode) == ""


def test_chat_options_for_scripts_need_a_question(fastft: Any) -> None:
    assert fastft("chat", "x", "--json").code == 2
    assert fastft("chat", "x", "--beside-base").code == 2
