"""Rows to evaluate on are used as they are: what is done to training rows would make another set of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl

from fastft.config.kinds import STAGES
from fastft.core.events import Bus
from fastft.data import Prepared, StreamBatches, Streamed, open_stream, shards
from fastft.data.explain import fields_of_config
from fastft.data.plan import make_plan

ROWS = [
    chat("Who wrote it?", "RenÃ© did"),
    chat("Say it twice", "twice"),
    chat("Say it twice", "twice"),
    chat("a", "b"),
]
"""A row to repair, one that is there twice, and one that is too short."""
CHANGES: dict[str, dict[str, Any]] = {
    "repaired": {"clean": {"repair": {}}},
    "filtered": {"clean": {"length": {"min_chars": 8}}},
    "once": {"dedup": {}},
    "decontaminated": {"decontaminate": {"min_tokens": 3}},
    "altered": {"augment": [{"kind": "spacing", "copies": 2}]},
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def options(tmp_path: Path, name: str) -> dict[str, Any]:
    """One thing that is done to training rows."""
    if name == "decontaminated":
        (tmp_path / "set.txt").write_text("Who wrote it?\n")
        sets = [{"name": "set", "path": str(tmp_path / "set.txt")}]
        return {"decontaminate": CHANGES[name]["decontaminate"] | {"sets": sets}}
    return CHANGES[name]


def evaluation(made: Prepared | Streamed) -> list[list[int]]:
    assert made.eval is not None
    return [made.eval.document(index)[0] for index in range(len(made.eval))]


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_done_to_training_rows_is_not_done_to_those_of_eval(
    kitchen: Kitchen, rows: Path, tmp_path: Path, name: str
) -> None:
    plain = kitchen.prepare(rows, eval_sources=(rows,))
    made = kitchen.prepare(rows, eval_sources=(rows,), **options(tmp_path, name))
    assert [plain.train.document(n)[0] for n in range(len(plain.train))] == evaluation(plain)
    assert [made.train.document(n)[0] for n in range(len(made.train))] != evaluation(plain), "it has an effect"
    assert evaluation(made) == evaluation(plain)
    total = made.books["eval"]["total"]
    assert (total["read"], total["used"], total["filtered"], total["augmented"]) == (4, 4, {}, 0)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "once"])
def test_when_streaming_neither(kitchen: Kitchen, rows: Path, tmp_path: Path, name: str) -> None:
    """`once` is no choice there: finding duplicates takes a pass over all rows."""
    stage = STAGES.get("sft")
    assert stage is not None
    config = kitchen.config(rows, eval_sources=(rows,), streaming=True, **options(tmp_path, name))
    opened = open_stream(config, stage(), kitchen.tokenizer, seed=1, cache=kitchen.cache, bus=Bus())
    assert evaluation(opened) == evaluation(kitchen.prepare(rows, eval_sources=(rows,)))
    StreamBatches(opened.stream, windows_per_step=4, micro=4).next_step()
    books = opened.stream.books()
    assert books is not None
    assert books["total"] != evaluation_free(kitchen, rows), "it has an effect on training rows"


def evaluation_free(kitchen: Kitchen, rows: Path) -> dict[str, Any]:
    """The books of a stream of which nothing is asked."""
    stage = STAGES.get("sft")
    assert stage is not None
    opened = open_stream(
        kitchen.config(rows, streaming=True), stage(), kitchen.tokenizer, seed=1, cache=kitchen.cache, bus=Bus()
    )
    StreamBatches(opened.stream, windows_per_step=4, micro=4).next_step()
    total: dict[str, Any] = (opened.stream.books() or {})["total"]
    return total


@pytest.mark.parametrize("name", CHANGES)
def test_shards_and_the_key_that_is_explained_are_of_the_same_rows(
    kitchen: Kitchen, rows: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastft.config.schema import RunConfig
    from fastft.data.engine import engine

    monkeypatch.setenv("FASTFT_CACHE", str(kitchen.cache))
    changed = options(tmp_path, name)
    made = kitchen.prepare(rows, eval_sources=(rows,), seed=5, **changed)
    data = kitchen.config(rows, eval_sources=(rows,), **changed)
    tables = {"stage": {"kind": "sft"}, "method": {"kind": "lora"}, "optimizer": {"kind": "adamw"}}
    config = RunConfig.model_validate({"model": {"path": "x"}, "data": data.model_dump(), **tables, "seed": 5})
    parts = shards.Job(tmp_path / "job", config, None).parts(kitchen.tokenizer)
    assert "-".join(engine().plan_key(plan.json)[0] for _, plan in parts) == made.key
    fields = fields_of_config(data, config.stage, kitchen.tokenizer, seed=5, config_dir=tmp_path, cache=kitchen.cache)
    assert fields == dict(made.train.manifest["key_fields"])


def test_no_seed_and_rows_as_they_are_both_make_no_copies(kitchen: Kitchen, rows: Path) -> None:
    import json

    stage = STAGES.get("sft")
    assert stage is not None
    data = kitchen.config(rows, **CHANGES["altered"])
    common: dict[str, Any] = {"config_dir": None, "cache": kitchen.cache}

    def copies(**how: Any) -> bool:
        return "augment" in json.loads(make_plan(data, data.train, stage(), kitchen.tokenizer, **common, **how).json)

    assert [copies(), copies(augment_seed=1), copies(augment_seed=1, as_they_are=True)] == [False, True, False]
