"""`[[data.augment]]`: a list of tables with a `kind`, each with its place, documentation and a form in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastft.config import explain, jsonschema
from fastft.config.augmentation import AUGMENTATIONS, EndpointAugmentation
from fastft.config.dump import dump
from fastft.config.load import load
from fastft.core.errors import ConfigError
from fastft.data.plan import augment_plan, numbered

CONFIG = """
[model]
path = "owner/name"
[stage]
kind = "sft"
[method]
kind = "lora"
[optimizer]
kind = "adamw"
[[data.train]]
path = "rows.jsonl"
[[data.augment]]
kind = "characters"
copies = 2
rate = 0.1
[[data.augment]]
kind = "paraphrase"
endpoint = "http://localhost:1/v1"
model = "m"
[[data.augment]]
kind = "synonyms"
dictionary = "words.tsv"
"""


def write(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_tables_are_read_in_order_and_written_as_they_are_read(tmp_path: Path) -> None:
    config = load(write(tmp_path)).config
    assert [table.kind for table in config.data.augment] == ["characters", "paraphrase", "synonyms"]
    assert load(write(tmp_path, dump(config))).config == config


def test_one_entry_can_be_set_from_the_command_line(tmp_path: Path) -> None:
    tables = load(write(tmp_path), ["data.augment.0.rate=0.5", "data.augment.3.kind=words"]).config.data.augment
    assert tables[0].model_dump()["rate"] == 0.5
    assert tables[3].kind == "words"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate = 0.1", "rat = 0.1", r"`data.augment.0` has no key `rat`(.|\n)*did you mean `rate`"),
        ('"paraphrase"', '"paraphrese"', r'no augmentation is called `paraphrese`(.|\n)*`kind = "paraphrase"`'),
        ("rate = 0.1", "rate = 0.0", r"run.toml:\d+(.|\n)*rate = 0.0"),
        ("rate = 0.1", "edits = []", r"edits"),
        ("rate = 0.1", 'roles = ["assistant"]', "errors in the assistant's answers"),
        ('endpoint = "http://localhost:1/v1"', 'endpoint = "localhost"', r"data.augment.1.endpoint"),
        ('kind = "synonyms"\ndictionary = "words.tsv"', 'kind = "sentences"\nshuffle = 0.0', "nothing to do"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in CONFIG
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path, CONFIG.replace(old, new)))


def test_every_kind_is_explained_and_in_the_schema() -> None:
    entry = explain.explain("data.augment")[0]
    assert [kind for kind, _ in entry.kinds] == AUGMENTATIONS.names()
    assert entry.example == "[[data.augment]]"
    items = jsonschema.schema()["properties"]["data"]["properties"]["augment"]
    assert items["type"] == "array"
    assert [option.get("title") for option in items["items"]["oneOf"]][1:] == AUGMENTATIONS.names()


def test_the_engine_gets_its_own_kinds_and_numbers_run_through_all(tmp_path: Path) -> None:
    tables = load(write(tmp_path)).config.data.augment
    assert [first for first, _ in numbered(tables)] == [1, 3, 4]
    (tmp_path / "words.tsv").touch()
    plan = augment_plan(tables, 7, {"eos_token": "</s>"}, tmp_path)
    assert (plan["seed"], plan["control"]) == (7, ["</s>"])
    assert [(op["kind"], op["first"], op["copies"]) for op in plan["ops"]] == [("characters", 1, 2), ("synonyms", 4, 1)]
    assert plan["ops"][1]["dictionary"] == str(tmp_path / "words.tsv")
    assert not any(isinstance(AUGMENTATIONS.get(op["kind"]), EndpointAugmentation) for op in plan["ops"])
