"""What a config asks of its rows and nobody can do: told by every command that comes before training, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from fastft.cli import main as entry

CONFIG = """
[model]
path = "model"
[data]
template = "chatlm"
max_length = 64
train = [{path = "rows.jsonl"}]
[data.clean.block]
words = ["fine", "/(/", "/[/"]
[data.clean.language]
languages = ["en", "klingon"]
[data.decontaminate]
sets = [{name = "exam", path = "exam.jsonl", fields = ["question"]}]
[[data.augment]]
kind = "synonyms"
dictionary = "words.txt"
[stage]
kind = "sft"
[method]
kind = "lora"
[optimizer]
kind = "adamw"
"""
WRONG = {
    "data.template": 5,
    "data.clean.block.words[1]": 9,
    "data.clean.block.words[2]": 9,
    "data.clean.language.languages[1]": 11,
    "data.decontaminate.sets[0].fields": 13,
    "data.augment[0].dictionary": 16,
}
"""Key -> its line in the config."""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `fastft data` in a folder with a tokenizer, rows, and a config full of mistakes."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    tiny.tokenizer().save_pretrained("model")
    Path("rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": "a"}\n')
    Path("exam.jsonl").write_text('{"answer": "no question"}\n')
    Path("words.txt").write_text("one word only\n")
    Path("run.toml").write_text(CONFIG)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = entry.run(["data", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_check_tells_every_mistake_beside_the_bad_rows(run: Any) -> None:
    code, out, _ = run("check", "run.toml", "--json")
    told = json.loads(out)
    of_config = {finding["path"]: finding for finding in told["findings"] if finding["source"] is None}
    assert (code, told["ok"]) == (3, False)
    assert {path: finding["line"] for path, finding in of_config.items()} == WRONG
    assert {finding["file"] for finding in of_config.values()} == {"run.toml"}
    assert of_config["data.clean.block.words[1]"]["reason"] == "`/(/`: unclosed group"
    assert told["errors"] == {"config.options": 5, "config.template": 1, "E_MISSING": 1}
    assert told["quarantined"] == {"E_MISSING": 1}
    code, out, _ = run("check", "run.toml")
    lines = out.splitlines()
    assert code == 3
    assert "run.toml:9:data.clean.block.words[2]: config.options: `/[/`: unclosed character class" in lines
    assert any(line.startswith("rows.jsonl:2:output: E_MISSING: ") for line in lines)
    assert all(any(f":{path}: " in line for line in lines) for path in WRONG)


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "run.toml"),
        ("preview", "run.toml"),
        ("stats", "run.toml"),
        ("plan", "run.toml", "--out", "store"),
        ("explain-key", "run.toml", "run.toml"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("template", ["chatlm", "chatml"])
def test_what_prepares_tells_all_with_their_places(run: Any, words: tuple[str, ...], template: str) -> None:
    code, out, err = run(*words, "--set", f"data.template={template}")
    keys = {key: line for key, line in WRONG.items() if key != "data.template"}
    assert (code, out) == (3, "")
    assert ("there is no chat template `chatlm`" in err) is (template == "chatlm")
    for key, line in keys.items():
        assert f"error[config.options]: `{key}`: " in err, err
        assert f"--> run.toml:{line}\n" in err
    assert not Path("store/shards.json").exists()


def test_rows_that_do_not_wait_for_the_trial_change_nothing_that_is_told(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastft.data.trial.PATIENCE_S", 0.0)
    told = json.loads(run("check", "run.toml", "--json")[1])["findings"]
    assert sorted(each["path"] for each in told if each["source"] is None) == sorted(WRONG)


def test_files_that_are_not_there_are_told_with_the_rest(run: Any) -> None:
    missing = ("--set", "data.decontaminate.sets.0.path=exma.jsonl", "--set", "data.clean.block.files=['none.txt']")
    code, out, _ = run("check", "run.toml", *missing, "--set", "data.train.0.path=raws.jsonl", "--json")
    told = {finding["path"]: finding for finding in json.loads(out)["findings"]}
    assert code == 3
    assert told["data.decontaminate.sets[0].path"]["hint"] == "did you mean `exam.jsonl`?"
    assert told["data.train[0].path"]["reason"] == "there is no file `raws.jsonl`"
    assert "data.clean.block.files[0]" in told
    assert "data.clean.block.words[1]" in told
    for words in (("prepare",), ("preview",), ("plan", "--out", "store")):
        code, _, err = run(words[0], "run.toml", *words[1:], *missing, "--set", "data.train.0.path=raws.jsonl")
        assert (code, err.count("error[data.missing-file]")) == (3, 3)
        assert (err.count("error[config.options]"), err.count("error[config.template]")) == (4, 1)
        assert err.endswith("\n8 problems\n")


def test_a_template_of_nothing_but_text_is_not_asked_for(run: Any) -> None:
    Path("rows.txt").write_text("just text\n")
    clean = ("--set", "data.clean=", "--set", "data.decontaminate=", "--set", "data.train.0.path=rows.txt")
    augment = ("--set", "data.augment=[{kind='spacing', roles=['user']}]", "--set", "stage.kind=pretrain")
    code, out, _ = run("check", "run.toml", *clean, "--set", "data.augment=", "--set", "stage.kind=pretrain")
    assert code == 0, out
    code, out, _ = run("check", "run.toml", *clean, *augment, "--json")
    assert [finding["path"] for finding in json.loads(out)["findings"]] == ["data.augment[0].roles"]


def test_a_template_that_cannot_be_compiled_is_told_without_a_tokenizer(run: Any) -> None:
    Path("mine.jinja").write_text("{% for message in messages %}{{ message.content }")
    words = ("--set", "data.clean=", "--set", "data.decontaminate=", "--set", "data.augment=")
    code, out, _ = run("check", "run.toml", *words, "--set", "data.template=mine.jinja", "--json")
    (finding, _) = json.loads(out)["findings"]
    assert (code, finding["path"]) == (3, "data.template")
    assert "can't be compiled" in finding["reason"]


def test_with_tokens_a_tokenizer_without_a_template_is_told(run: Any) -> None:
    files = Path("model")
    described = json.loads((files / "tokenizer_config.json").read_text())
    described.pop("chat_template", None)
    (files / "tokenizer_config.json").write_text(json.dumps(described))
    (files / "chat_template.jinja").unlink(missing_ok=True)
    words = ("--set", "data.clean=", "--set", "data.decontaminate=", "--set", "data.augment=")
    code, out, _ = run("check", "run.toml", *words, "--set", "data.template=auto", "--tokens", "--json")
    told = [(finding["code"], finding["path"]) for finding in json.loads(out)["findings"]]
    assert code == 4
    assert ("data.no-template", "data.template") in told
