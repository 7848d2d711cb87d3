"""`data.augment` tables with an endpoint, from the command line to the store."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, chat, ids_of, write_jsonl
from test_data_augment import said, serving, upper

from fastft.cli import main as entry
from fastft.core.errors import ConfigError, DataError
from fastft.data.copies import _Cleaned, _document
from fastft.data.engine import engine

CONFIG = """
[model]
path = "model"
[data]
train = [{path = "rows.jsonl"}]
max_length = 256
[stage]
kind = "sft"
[method]
kind = "lora"
[optimizer]
kind = "adamw"
"""


def table(url: str, kind: str = "paraphrase", **options: Any) -> dict[str, Any]:
    return {"kind": kind, "endpoint": url, "model": "m", "retries": 0, "timeout": 5.0, **options}


def texts(prepared: Any) -> list[str]:
    """The first questions of documents, of a tokenizer with an id a byte."""
    found = []
    for ids in ids_of(prepared):
        said = bytes(i if i < 256 else 10 for i in (_BYTES.get(i, 10) for i in ids)).decode()
        found.append(said)
    return found


_BYTES: dict[int, int] = {}


@pytest.fixture(autouse=True)
def _alphabet(kitchen: Kitchen) -> None:
    from tokenizers import Tokenizer, pre_tokenizers

    tokenizer = Tokenizer.from_file(str(kitchen.tokenizer.folder / "tokenizer.json"))
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for byte in range(32, 127):
        shown = letters.pre_tokenize_str(chr(byte))[0][0]
        _BYTES[tokenizer.token_to_id(shown)] = byte


@pytest.mark.parametrize("kind", ["paraphrase", "back_translation"])
def test_the_command_asks_the_endpoint_once(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny  # which is slow, and only wanted here

    (tmp_path / "model").mkdir()
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    write_jsonl(tmp_path / "rows.jsonl", [chat(f"question {letter} please", "Sure.") for letter in "abc"])
    (tmp_path / "run.toml").write_text(CONFIG)
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path / "cache"))
    more = {"languages": ["de"]} if kind == "back_translation" else {}
    with serving(upper) as server:
        words = ["data", "prepare", str(tmp_path / "run.toml"), "--json", "--set"]
        fields = ",".join(f"{key}={json.dumps(value)}" for key, value in table(server.url, kind, **more).items())
        words.append(f"data.augment=[{{{fields}}}]")
        assert entry.run(words) == 0
        told = json.loads(capsys.readouterr().out)
        requests = len(server.bodies)
        assert requests == (3 if kind == "paraphrase" else 6)
        assert told["asked"]["copies"] == {kind: 3}
        assert told["rows_packed"] == 6
        manifest = json.loads((Path(told["store"]) / "manifest.json").read_text())
        assert manifest["books"]["total"]["augmented"] == 3
        assert entry.run(words) == 0
        assert json.loads(capsys.readouterr().out)["cached"] is True
        assert len(server.bodies) == requests


def test_an_endpoint_that_is_not_there_ends_it(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "a.jsonl", [chat("a question", "yes")])
    with pytest.raises(DataError, match="gave no answer") as caught:
        kitchen.prepare(rows, augment=[table("http://127.0.0.1:9/v1")])
    assert "what was answered is kept" in str(caught.value)


def test_only_rows_that_are_used_are_asked_about_as_they_are_after_cleaning(kitchen: Kitchen, tmp_path: Path) -> None:
    pretty = json.dumps(chat("pretty \u200bquestion", "yes"), indent=1)
    plain = [json.dumps(chat(text, "yes")) for text in ("blocked word", "a long question " * 40, "twice", "twice")]
    (tmp_path / "a.json").write_text("[" + ",\n".join([pretty, '{"messages": []}', *plain]) + "]")
    txt = tmp_path / "b.jsonl"
    write_jsonl(txt, [chat("other file", "no")])
    with serving(upper) as server:
        made = kitchen.prepare(
            tmp_path / "a.json",
            txt,
            augment=[table(server.url)],
            clean={"repair": {}, "block": {"words": ["blocked"]}},
            dedup={},
            max_bad_fraction=0.5,
        )
        asked = sorted(body["messages"][0]["content"].rpartition("\n\n")[2] for body in server.bodies)
    assert asked == ["other file", "pretty question", "twice"]
    assert made.books["total"]["augmented"] == 3
    assert sum("PRETTY QUESTION" in text for text in texts(made)) == 1


def test_text_files_get_copies(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one text here\n\nand another\n")
    with serving(upper) as server:
        made = kitchen.prepare(tmp_path / "t.txt", stage="pretrain", augment=[table(server.url, roles=["text"])])
        assert made.books["total"]["augmented"] == made.books["total"]["used"] > 0


def test_a_pair_is_cleaned_as_the_engine_does_it_and_keeps_its_weights() -> None:
    mapping = json.dumps({"kind": "preference", "prompt": "prompt", "chosen": "chosen", "rejected": "rejected"})
    pair = {"prompt": "which\u200b one", "chosen": "the good", "rejected": "write john.smith@gmail.com"}
    row = json.loads(engine().align_rows(mapping, json.dumps([pair])))[0]
    made = _document(row, _Cleaned({"repair": {}, "pii": {}, "length": {"min_chars": 1000}}))
    assert made["messages"][0]["content"] == "which one"
    assert [answer[0]["content"] for answer in made["answers"]] == ["the good", "write [EMAIL]"]
    weighted = {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "weights": [None, 0.5],
    }
    assert _document(weighted, None)["messages"][1]["weight"] == 0.5


def test_other_answers_are_other_data_and_rejected_ones_are_told(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "a.jsonl", [chat("is it so", "yes"), chat("or is it not", "no")])
    heard, keys = Heard(), []
    for reply in (upper, lambda body, number: said("is that how it is") if number == 1 else said("")):
        with serving(reply) as server:
            made = kitchen.prepare(rows, augment=[table(server.url, max_rejected=1.0, concurrency=1)], heard=heard)
            keys.append(made.key)
    assert keys[0] != keys[1]
    assert made.books["asked"]["rejected"] == {"empty": 1}
    assert "data.copies-rejected" in heard.codes()


NOISE = {"kind": "spacing", "copies": 2}
"""Copies that the engine makes, before and after those of an endpoint."""


@pytest.mark.parametrize("noise", [[], [NOISE]], ids=["alone", "with others"])
def test_a_store_with_copies_is_what_reading_the_sources_anew_would_make(
    kitchen: Kitchen, tmp_path: Path, noise: list[dict[str, Any]]
) -> None:
    def row(n: int) -> dict[str, Any]:
        return chat(f"question {n} here " * (1 + n % 9), f"an answer {n}")

    rows = write_jsonl(tmp_path / "a.jsonl", [row(n) for n in (*range(60), 7)])
    with rows.open("a") as file:
        file.write("{broken\n")
    others = write_jsonl(tmp_path / "b.jsonl", [row(n) for n in range(60, 75)])
    options: dict[str, Any] = {"clean": {"repair": {}}, "dedup": {}, "max_length": 128, "max_bad_fraction": 0.5}
    with serving(upper) as server:
        augment = [*noise, table(server.url, probability=0.7, copies=2), *noise]
        made = kitchen.prepare(rows, others, augment=augment, **options)
    plan = json.loads(made.plan.json) | {"cache": str(tmp_path / "other")}
    anew = engine().prepare(json.dumps(plan), engine().Progress(), made.plan.fallback)
    stores = [Path(folder) for folder in (made.train.folder, anew["folder"])]
    assert stores[0] != stores[1]
    assert made.books["total"]["augmented"] > 30
    assert made.books["total"]["quarantined"] == {"E_JSON": 1}
    manifests = [json.loads((store / "manifest.json").read_text()) for store in stores]
    assert manifests[0] == manifests[1]
    for name in ("rejected.jsonl", "left_out.jsonl", *(part["name"] for part in manifests[0]["parts"])):
        assert (stores[0] / name).read_bytes() == (stores[1] / name).read_bytes()
    assert sorted(file.name for file in stores[0].iterdir()) == sorted(file.name for file in stores[1].iterdir())


def test_no_token_of_a_row_is_made_twice(kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastft.data.prepare"]
    rendered: list[str] = []
    real = module.make_plan

    def counted(*args: Any, **options: Any) -> Any:
        plan = real(*args, **options)
        render = plan.fallback
        assert render is not None

        def noted(text: str) -> str:
            rendered.append(text)
            return render(text)

        return replace(plan, fallback=noted)

    monkeypatch.setattr(module, "make_plan", counted)
    template = tmp_path / "python.jinja"  # a method that only Python's strings have
    template.write_text(
        "{% for message in messages %}<|im_start|>{{ message['role'].translate({}) }}\n{{ message['content'] }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    rows = write_jsonl(tmp_path / "a.jsonl", [chat(f"question {letter} here", "yes") for letter in "abcdef"])
    kitchen.prepare(rows, template=str(template))
    alone = sum("question" in text for text in rendered)
    assert alone >= 6
    rendered.clear()
    with serving(upper) as server:
        kitchen.prepare(rows, template=str(template), max_length=255, augment=[table(server.url)])
    for word in ("question", "QUESTION"):
        assert sum(word in text for text in rendered) == alone, "each row once, each copy once"


def test_equal_copies_make_equal_keys_wherever_they_lie(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "a.jsonl", [chat("is it so", "yes"), chat("or is it not", "no")])
    words = tmp_path / "words.txt"
    words.write_text("forbidden\n")
    keys = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "words.txt").write_text("forbidden\n")
        with serving(upper) as server:
            made = Kitchen(kitchen.tokenizer, folder / "cache").prepare(
                rows, augment=[table(server.url)], clean={"block": {"files": [str(folder / "words.txt")]}}
            )
        assert str(folder / "cache") in str(made.train.folder)
        keys.add(made.key)
    assert len(keys) == 1
    names = [name for name, _ in made.train.manifest["key_fields"]]
    assert "augment.derived[0]" in names
    assert "clean.block.files[0]" in names
    (folder / "words.txt").write_text("other\n")
    with serving(upper) as server:
        other = Kitchen(kitchen.tokenizer, folder / "cache").prepare(
            rows, augment=[table(server.url)], clean={"block": {"files": [str(folder / "words.txt")]}}
        )
    assert other.key not in keys


def test_who_does_not_ask_says_so(kitchen: Kitchen, tmp_path: Path) -> None:
    from fastft.config.kinds import STAGES
    from fastft.data.plan import make_plan

    rows = write_jsonl(tmp_path / "a.jsonl", [chat("is it so", "yes")])
    config = kitchen.config(rows, augment=[table("http://127.0.0.1:9/v1")])
    stage = STAGES.get("sft")
    assert stage is not None
    with pytest.raises(ConfigError, match=r"shards, Ray and `data\.streaming` do not ask"):
        make_plan(
            config, config.train, stage(), kitchen.tokenizer, config_dir=None, cache=kitchen.cache, augment_seed=1
        )
