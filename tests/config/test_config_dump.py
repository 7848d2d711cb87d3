"""Dump, schema, explanations: all from the same fields."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fastft.config.dump import dump, rows
from fastft.config.explain import entries, explain, markdown
from fastft.config.fields import docs, keys
from fastft.config.jsonschema import schema, schema_text
from fastft.config.load import load
from fastft.config.schema import RunConfig
from fastft.config.section import Section
from fastft.config.starter import starter
from fastft.core.errors import ConfigError

Write = Callable[..., Path]

FULL = [
    "steps=5",
    "data.eval=[{path='e.jsonl', format={kind='alpaca'}}]",
    "data.train.0.format=openai",
    'data.train.0.name="with \\" and \\n and 名"',
    "model.quantize=nf4",
    "schedule={kind='linear', warmup=3}",
    "optimizer.eps=1e-12",
    "batch.tokens=64k",
]


@pytest.mark.parametrize("overrides", [[], FULL, ['stage={kind="pretrain"}', 'method={kind="full"}']])
def test_reading_a_dump_gives_the_same_config(write: Write, tmp_path: Path, overrides: list[str]) -> None:
    loaded = load(write(), overrides)
    for text in (dump(loaded.config), dump(loaded.config, loaded.origins)):
        (tmp_path / "again.toml").write_text(text, encoding="utf-8")
        assert load(tmp_path / "again.toml").config == loaded.config


def test_each_line_of_a_dump_says_where_its_value_came_from(write: Write) -> None:
    path = write("seed = 3")
    loaded = load(path, ["optimizer.lr=0.5", "model.quantize=nf4"])
    lines = {
        line.split(" = ")[0]: line.split("  # ")[1]
        for line in dump(loaded.config, loaded.origins).split("\n")
        if "#" in line
    }
    assert lines["seed"] == f"{path}:1"
    assert lines["lr"] == "--set"
    assert lines["quantize"] == "--set"
    assert lines["epochs"] == "default"
    assert {key: origin for key, _, origin in rows(loaded.config, loaded.origins)}["optimizer.lr"] == "--set"


def sections() -> list[type[Section]]:
    """Every table there is, of every kind."""
    found: list[type[Section]] = []

    def walk(section: type[Section]) -> None:
        found.append(section)
        for key in keys(section).values():
            for inner in [member for _, member in key.one_of.family] if key.one_of else [key.section]:
                if inner is not None:
                    walk(inner)

    walk(RunConfig)
    return found


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_key_is_documented_in_one_sentence_or_more(section: type[Section]) -> None:
    missing = set(keys(section)) - set(docs(section))
    assert not missing, f"{section.__module__}.{section.__name__}: a string below {missing}"
    assert all(text.endswith((".", "`")) and text[0] in text[0].upper() + "`" for text in docs(section).values())
    assert section.__doc__


def test_the_committed_schema_is_fresh(root: Path) -> None:
    committed = (root / "configs" / "fastft.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(), "write it anew: make schema"


def test_the_committed_reference_page_is_fresh(root: Path) -> None:
    committed = (root / "docs" / "reference.md").read_text(encoding="utf-8")
    assert committed.rstrip("\n") == markdown().rstrip("\n"), "write it anew: make docs"


def test_every_entry_of_the_schema_has_a_description() -> None:
    def walk(table: dict[str, object], path: str) -> list[str]:
        bare = []
        for name, entry in table.get("properties", {}).items():  # type: ignore[attr-defined]
            here = f"{path}.{name}"
            if "description" not in entry:
                bare.append(here)
            for inner in [entry, entry.get("items", {}), *entry.get("oneOf", [])]:
                bare += walk(inner, here)
        return bare

    assert walk(schema(), "") == []


def test_the_schema_knows_kinds_bounds_and_what_is_required() -> None:
    made = schema()
    lora = next(option for option in made["properties"]["method"]["oneOf"] if option.get("title") == "lora")
    assert lora["properties"]["rank"]["exclusiveMinimum"] == 0
    assert lora["properties"]["kind"]["const"] == "lora"
    assert lora["additionalProperties"] is False
    assert made["properties"]["model"]["required"] == ["path"]
    assert {"required": ["extends"]} in made["anyOf"]
    assert "null" not in json.dumps(made)


def test_the_configs_of_the_repository_load(root: Path) -> None:
    found = sorted((root / "configs").rglob("*.toml"))
    assert found
    for path in found:
        load(path)


def test_a_key_is_explained_with_its_kind_and_what_is_below_it() -> None:
    (rank,) = explain("method.rank")
    assert (rank.kind, rank.type, rank.default, rank.doc) == (
        "lora",
        "whole number, > 0",
        "16",
        "Width r of the update.",
    )
    found = explain("data.train.0.path")
    assert found[0].path == "data.train.path"
    assert found[0].required
    assert [entry.path for entry in explain("checkpoint")][:3] == ["checkpoint", "checkpoint.every", "checkpoint.keep"]
    assert "lora" in dict(explain("method.kind")[0].kinds)


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean `method\.rank`"):
        explain("rank")
    with pytest.raises(ConfigError, match=r"did you mean `data\.packing`"):
        explain("data.pakcing")


def test_the_reference_page_has_a_line_for_every_key() -> None:
    page = markdown()
    for entry in entries():
        assert f"`{entry.path.rpartition('.')[2]}`" in page or f"[{entry.path}]" in page


@pytest.mark.parametrize("name", ["my run", "..", "ok", "ü"])
def test_a_starter_loads_whatever_its_file_is_called(write: Write, name: str) -> None:
    text = starter(name, "embedded:smollm2-135m", 'data/"odd".jsonl')
    assert tomllib.loads(text)["data"]["train"][0]["path"] == 'data/"odd".jsonl'
    load(write(body=text))
