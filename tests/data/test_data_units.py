"""Work that is cut into units: a killed run is gone on with, shards make the same store."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, ids_of, write_jsonl

from fastft.config.kinds import STAGES
from fastft.data.engine import engine
from fastft.data.plan import make_plan

SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from data_helpers import Kitchen
from fastft.config.kinds import TokenizerFiles
fields = json.loads(sys.argv[2])
tokenizer = TokenizerFiles(**{**fields, "folder": Path(fields["folder"])})
Kitchen(tokenizer, Path(sys.argv[3])).prepare(Path(sys.argv[4]), max_length=4096, threads=1)
"""


def _store(folder: Path) -> dict[str, bytes]:
    """Every file of a store but when its files were written."""
    left = {"stamps.json", "shards.json", "tokenizer.json"}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in left}


def test_a_killed_run_keeps_what_it_had_done_and_ends_in_the_same_bytes(kitchen: Kitchen, tmp_path: Path) -> None:
    rows: list[Any] = [chat(f"q{n} " * 40, f"a{n} " * 60) for n in range(60_000)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    fields = dataclasses.asdict(dataclasses.replace(kitchen.tokenizer, folder=str(kitchen.tokenizer.folder)))  # type: ignore[arg-type]
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), json.dumps(fields), str(cache), str(path)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (done := sorted(cache.glob("tokens/.*/*.json"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(done) >= 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {
        file.with_suffix(".arrow"): file.with_suffix(".arrow").stat().st_ino for file in cache.glob("tokens/.*/*.json")
    }
    assert kept
    prepared = Kitchen(kitchen.tokenizer, cache).prepare(path, max_length=4096)
    assert not prepared.cached
    for part, inode in kept.items():  # the very files, not others like them
        assert (prepared.train.folder / part.name).stat().st_ino == inode
    whole = Kitchen(kitchen.tokenizer, tmp_path / "other").prepare(path, max_length=4096, threads=1)
    assert _store(whole.train.folder) == _store(prepared.train.folder)
    assert whole.books["total"]["read"] == 60_000


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_make_the_store_that_one_run_makes(kitchen: Kitchen, tmp_path: Path, count: int) -> None:
    lines = [json.dumps(chat(f"q{n}", f"a{n % 700}" * 30)) if n % 50 else "broken" for n in range(20_000)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    kitchen = Kitchen(kitchen.tokenizer, tmp_path / "cache")  # the same rows under another path would be found
    whole = kitchen.prepare(path, dedup={"exact": True})
    member = STAGES.get("sft")
    assert member is not None
    config = kitchen.config(path, dedup={"exact": True})
    plan = make_plan(config, config.train, member(), kitchen.tokenizer, config_dir=None, cache=kitchen.cache)
    folder, native = tmp_path / "shards", engine()
    assert native.plan_shards(plan.json, str(folder), native.Progress()) >= 2
    for index in range(count):
        native.run_shard(str(folder), index, count, native.Progress(), plan.fallback)
    assert native.commit_shards(str(folder)) == whole.key
    assert _store(folder) == _store(whole.train.folder)


def test_what_is_filtered_and_doubled_is_in_the_books_and_listed_by_line(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = [chat("one", "a fine answer"), chat("two", "a"), chat("one", "a fine answer"), chat("three", "x" * 900)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    prepared = kitchen.prepare(path, dedup={"exact": True}, clean={"length": {"min_chars": 8}}, out=tmp_path / "run")
    total = prepared.books["total"]
    assert (total["read"], total["used"]) == (4, 1)
    assert (sum(total["filtered"].values()), total["duplicates"], total["dropped"]) == (
        1,
        {"exact": 1},
        {"too_long": 1},
    )
    listed = [json.loads(line) for line in (prepared.train.folder / "left_out.jsonl").read_text("utf-8").splitlines()]
    assert [row["line"] for row in listed] == [2, 3, 4]
    assert listed[1]["rule"] == "duplicate.exact"
    assert listed[1]["detail"] == "like row 0 of `rows`"
    assert len(ids_of(prepared)) == 1


def test_two_runs_of_one_plan_share_the_work_instead_of_doing_it_twice(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat(f"q{n} " * 40, f"a{n} " * 60) for n in range(10_000)])
    fields = dataclasses.asdict(dataclasses.replace(kitchen.tokenizer, folder=str(kitchen.tokenizer.folder)))  # type: ignore[arg-type]
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), json.dumps(fields), str(cache), str(path)]
    runs = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    folders = [folder.name for folder in (cache / "tokens").iterdir()]
    assert len(folders) == 1
    assert not folders[0].startswith(".")
