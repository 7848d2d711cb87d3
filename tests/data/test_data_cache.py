from __future__ import annotations

import dataclasses
import fcntl
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, write_jsonl

from fastft.core.errors import DataError
from fastft.data import TokenStore

MODELS = Path(__file__).parents[2] / "rust" / "clean" / "tests" / "fixtures" / "fasttext"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", [chat(f"question {n}", f"answer {n}") for n in range(20)])


def test_the_second_time_is_cached_and_the_same(kitchen: Kitchen, rows: Path) -> None:
    first, second = kitchen.prepare(rows), kitchen.prepare(rows)
    assert (first.cached, second.cached) == (False, True)
    assert first.key == second.key
    assert first.books == second.books


def test_touching_a_file_keeps_the_key_and_changing_it_does_not(kitchen: Kitchen, rows: Path) -> None:
    os.utime(rows, ns=(10**18, 10**18))
    key = kitchen.prepare(rows).key
    os.utime(rows, ns=(2 * 10**18, 2 * 10**18))
    assert kitchen.prepare(rows).key == key
    text = rows.read_text()
    rows.write_text(text.replace("question 7", "question 8"))
    assert kitchen.prepare(rows).key != key
    rows.write_text(text)
    assert kitchen.prepare(rows).key == key


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 128},
        {"truncate": "right"},
        {"special_in_text": "parse"},
        {"thinking": "strip"},
        {"template": "qwen3"},
        {"stage_options": {"loss_on": "all"}},
        {"rows": 10},
        {"name": "other"},
        {"format": {"kind": "openai"}},
    ],
)
def test_what_changes_tokens_or_reports_changes_the_key(kitchen: Kitchen, rows: Path, change: dict[str, Any]) -> None:
    source: dict[str, Any] = {"path": str(rows)}
    key = kitchen.prepare(source).key
    of_source = {k: v for k, v in change.items() if k in ("rows", "name", "format")}
    options = {k: v for k, v in change.items() if k not in of_source}
    assert kitchen.prepare(source | of_source, **options).key != key


@pytest.mark.parametrize(
    "change",
    [{"packing": "none"}, {"threads": 1}, {"seed": 9}, {"eval_fraction": 0.2}, {"on_bad": "fail"}, {"repeat": 2}],
)
def test_what_changes_no_token_keeps_the_key(kitchen: Kitchen, rows: Path, change: dict[str, Any]) -> None:
    key = kitchen.prepare(rows).key
    source = {"path": str(rows)} | {k: v for k, v in change.items() if k == "repeat"}
    again = kitchen.prepare(source, **{k: v for k, v in change.items() if k != "repeat"})
    assert (again.key, again.cached) == (key, True)


@pytest.mark.parametrize(
    ("options", "one", "other"),
    [
        ({"clean": {"block": {"files": ["file"]}}}, b"bad word", b"worse word"),
        ({"clean": {"language": {"fasttext": "file", "min_confidence": 0.1}}}, "tree.bin", "softmax.bin"),
        (
            {"decontaminate": {"sets": [{"name": "set", "path": "file"}]}},
            b"one two three four five six seven eight",
            b"1 2 3 4 5 6 7 8 9",
        ),
        ({"augment": [{"kind": "synonyms", "dictionary": "file"}]}, b"good\tfine", b"good\tgreat"),
    ],
)
def test_the_contents_of_a_file_that_options_name_change_the_key(
    kitchen: Kitchen, rows: Path, tmp_path: Path, options: dict[str, Any], one: bytes | str, other: bytes | str
) -> None:
    keys = []
    for content in (one, other, one):
        made = (MODELS / content).read_bytes() if isinstance(content, str) else content
        (tmp_path / "file").write_bytes(made)
        keys.append(kitchen.prepare(rows, config_dir=tmp_path, **options).key)
    assert keys[0] == keys[2] != keys[1]


def test_another_tokenizer_changes_the_key(kitchen: Kitchen, rows: Path) -> None:
    other = Kitchen(dataclasses.replace(kitchen.tokenizer, key="another"), kitchen.cache)
    assert other.prepare(rows).key != kitchen.prepare(rows).key


def test_a_damaged_store_is_made_anew(kitchen: Kitchen, rows: Path) -> None:
    first = kitchen.prepare(rows)
    tokens = first.train.folder / "000000-00000.arrow"
    want = tokens.read_bytes()
    del first
    flipped = want[:1000] + bytes([want[1000] ^ 1]) + want[1001:]
    for damage in (want[: len(want) // 2], b"", want[:-4] + b"xxxx", flipped):
        tokens.write_bytes(damage)
        again = kitchen.prepare(rows)
        assert not again.cached
        assert tokens.read_bytes() == want


def test_a_store_without_its_list_of_rejected_rows_is_made_anew(kitchen: Kitchen, rows: Path, tmp_path: Path) -> None:
    with rows.open("a") as file:
        file.write("broken\n")
    listed = kitchen.prepare(rows).train.folder / "rejected.jsonl"
    want = listed.read_bytes()
    for damage in (listed.unlink, lambda: listed.write_bytes(want[:-9] + b"x" * 9)):
        damage()
        assert not kitchen.prepare(rows, out=tmp_path).cached
        assert listed.read_bytes() == want


def test_a_damaged_store_is_not_opened(kitchen: Kitchen, rows: Path) -> None:
    folder = kitchen.prepare(rows).train.folder
    tokens = folder / "000000-00000.arrow"
    want = bytearray(tokens.read_bytes())
    want[1000] ^= 1
    tokens.unlink()
    tokens.write_bytes(want)
    with pytest.raises(DataError, match="not what was written"):
        TokenStore.open(folder)
    shutil.rmtree(folder)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_makes_is_not(
    kitchen: Kitchen, rows: Path, tmp_path: Path
) -> None:
    alone = Kitchen(kitchen.tokenizer, tmp_path / "cache")
    stores = tmp_path / "cache" / "tokens"
    dead, living, young = (stores / f".{name}-1" for name in ("dead", "living", "young"))
    for folder in (dead, living, young):
        folder.mkdir(parents=True)
        (folder / ".lock").touch()
    for folder in (dead, living):
        os.utime(folder, (10**9, 10**9))
    with (living / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = alone.prepare(rows).key
    assert sorted(folder.name for folder in stores.iterdir()) == sorted([".living-1", ".young-1", key])
    assert not (stores / key / ".lock").exists()


def test_a_file_rewritten_under_its_old_time_is_read_again(kitchen: Kitchen, rows: Path) -> None:
    os.utime(rows, ns=(10**18, 10**18))
    time.sleep(2.1)  # younger digests are not kept
    key = kitchen.prepare(rows).key
    with rows.open("r+") as file:
        file.write(rows.read_text().replace("question 7", "question 8"))
    os.utime(rows, ns=(10**18, 10**18))
    assert kitchen.prepare(rows).key != key


def test_other_special_tokens_change_the_key_of_texts(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "once"}])
    tokenizer = kitchen.tokenizer
    other = dataclasses.replace(
        tokenizer,
        special_tokens={**tokenizer.special_tokens, "eos_token": "<|endoftext|>"},
        eos_id=tokenizer.bos_id,
    )
    first = kitchen.prepare(path, stage="pretrain")
    second = Kitchen(other, kitchen.cache).prepare(path, stage="pretrain")
    assert (first.train.document(0)[0][-1], second.train.document(0)[0][-1]) == (tokenizer.eos_id, tokenizer.bos_id)


def test_no_half_made_store_is_left_when_the_run_ends_badly(kitchen: Kitchen, rows: Path, tmp_path: Path) -> None:
    alone = Kitchen(kitchen.tokenizer, tmp_path / "cache")
    with rows.open("a") as file:
        file.write("broken\n")
    with pytest.raises(Exception, match="JSON"):
        alone.prepare(rows, on_bad="fail")
    assert list((tmp_path / "cache" / "tokens").iterdir()) == []


def test_prepared_data_needs_neither_torch_nor_transformers_the_second_time(kitchen: Kitchen, rows: Path) -> None:
    kitchen.prepare(rows)
    script = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from data_helpers import Kitchen
from fastft.config.kinds import TokenizerFiles
fields = json.loads(sys.argv[2])
tokenizer = TokenizerFiles(**{**fields, "folder": Path(fields["folder"])})
prepared = Kitchen(tokenizer, Path(sys.argv[3])).prepare(Path(sys.argv[4]))
print(prepared.cached, "torch" in sys.modules, "transformers" in sys.modules)
"""
    fields = dataclasses.asdict(dataclasses.replace(kitchen.tokenizer, folder=str(kitchen.tokenizer.folder)))  # type: ignore[arg-type]
    command = [
        sys.executable,
        "-c",
        script,
        str(Path(__file__).parent),
        json.dumps(fields),
        str(kitchen.cache),
        str(rows),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


STOPPED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from data_helpers import Kitchen
from fastft.config.kinds import TokenizerFiles
fields = json.loads(sys.argv[2])
tokenizer = TokenizerFiles(**{**fields, "folder": Path(fields["folder"])})
try:
    Kitchen(tokenizer, Path(sys.argv[3])).prepare(Path(sys.argv[4]), max_length=4096)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_ctrl_c_stops_the_engine_and_the_next_run_goes_on_where_it_was(kitchen: Kitchen, tmp_path: Path) -> None:
    """Gigabytes of rows, a few MB compressed: however busy the machine is, no run gets to their end by itself."""
    path = tmp_path / "rows.jsonl.gz"
    rows = [json.dumps(chat(f"q{n}" * 50, f"a{n}" * 50)) + "\n" for n in range(20_000)]
    path.write_bytes(gzip.compress("".join(rows).encode()) * 400)
    fields = dataclasses.asdict(dataclasses.replace(kitchen.tokenizer, folder=str(kitchen.tokenizer.folder)))  # type: ignore[arg-type]
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", STOPPED, str(Path(__file__).parent), json.dumps(fields), str(cache), str(path)]

    def done() -> dict[str, tuple[int, int]]:
        """The pieces whose record is there: which file each is, and when it was written."""
        parts = [file.with_suffix(".arrow") for file in cache.glob("tokens/.*/*-*.json")]
        return {part.name: (part.stat().st_ino, part.stat().st_mtime_ns) for part in parts}

    def until_there_is_more() -> dict[str, tuple[int, int]]:
        before = set(done())
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not set(done()) - before:
            assert process.poll() is None, "it ended before it had done a piece"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
        assert (process.returncode, said) == (0, "stopped\n")
        return done()

    first = until_there_is_more()
    second = until_there_is_more()
    assert {name: second.get(name) for name in first} == first, "what was done is not done again"
    assert [folder.name for folder in (cache / "tokens").iterdir() if not folder.name.startswith(".")] == []
