"""Sources that are no local paths and no files of servers: the hub, standard input, fsspec, Python objects."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, ids_of, write_jsonl
from remote_server import COMMIT, Remote, serving

from fastft.config import urls
from fastft.config.schema import SourceConfig
from fastft.core.errors import DataError
from fastft.data import hub, source
from fastft.data.engine import engine
from fastft.data.sources import localize

ROWS = [chat(f"question {number}", f"answer {number}") for number in range(200)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def bring(path: str, cache: Path) -> list[tuple[str, bytes]]:
    """What reports call each file of a source, and its content."""
    found = localize(SourceConfig(path=path), cache=cache).files
    assert found is not None
    return [(each["shown"], Path(each["path"]).read_bytes()) for each in found]


HUB = """
import json, sys
from pathlib import Path
from fastft.config.schema import SourceConfig
from fastft.core.errors import FastftError
from fastft.data.sources import localize
told = []
for path in json.loads(sys.argv[2]):
    try:
        found = localize(SourceConfig(path=path), cache=Path(sys.argv[1])).files
        told.append([[each["shown"].rpartition("@")[2], Path(each["path"]).read_text()] for each in found])
    except FastftError as error:
        told.append(str(error))
print(json.dumps(told))
"""


def ask_hub(server: Remote, folder: Path, *addresses: str, offline: bool = False) -> list[Any]:
    """In a process of its own: huggingface_hub reads its environment once."""
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hub"), "NO_PROXY": "127.0.0.1"}
    environment |= {"HF_HUB_OFFLINE": "01"[offline], "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(folder / "cache"), json.dumps(addresses)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: list[Any] = json.loads(done.stdout)
    return told


def test_parts_of_a_data_set_of_the_hub_are_there_without_it_once_they_were_fetched(tmp_path: Path) -> None:
    names = ("data/train-0.jsonl", "data/train-1.jsonl", "data/test-0.jsonl", "README.md")
    with serving(Remote({f"/datasets/org/set/{name}": name.encode() for name in names})) as server:
        split, file, pattern, no_split, no_set, no_kind = ask_hub(
            server,
            tmp_path,
            "hf://datasets/org/set?split=train",
            "hf://datasets/org/set/data/test-0.jsonl",
            "hf://datasets/org/set@main/data/*-0.jsonl",
            "hf://datasets/org/set?split=dev",
            "hf://datasets/org/none",
            "hf://models/org/set",
        )
        asked = len(server.asked)
        again, never = ask_hub(
            server, tmp_path, "hf://datasets/org/set?split=train", "hf://datasets/org/none", offline=True
        )
        assert len(server.asked) == asked
    down, unknown = ask_hub(server, tmp_path, "hf://datasets/org/set?split=train", "hf://datasets/org/none")
    assert [content for _, content in split] == ["data/train-0.jsonl", "data/train-1.jsonl"]
    assert [content for _, content in file] == ["data/test-0.jsonl"]
    assert [content for _, content in pattern] == ["data/test-0.jsonl", "data/train-0.jsonl"]
    assert all(shown.startswith(COMMIT) for shown, _ in (*split, *file, *pattern))
    assert "no split `dev`" in no_split
    assert "`train`" in no_split
    assert "org/none" in no_set
    assert "hf auth login" in no_set
    assert "hf://datasets/" in no_kind
    assert again == down == split
    assert "can't be reached" in unknown
    assert "HF_HUB_OFFLINE" in never


FILES = ["README.md", "en/a.jsonl", "en/b.jsonl", "en-test/c.jsonl", "all/d.parquet", "all/e.parquet"]
CARD: list[dict[str, Any]] = [
    {
        "config_name": "en",
        "data_files": [{"split": "fit", "path": "en/*.jsonl"}, {"split": "test", "path": ["en-test"]}],
    },
    {"config_name": "default", "data_dir": "all", "data_files": "*.parquet"},
]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", ["all/d.parquet", "all/e.parquet"]),
        ("?subset=en&split=fit", ["en/a.jsonl", "en/b.jsonl"]),
        ("?subset=en&split=test", ["en-test/c.jsonl"]),
        ("/en", ["en/a.jsonl", "en/b.jsonl"]),
        ("/en-test/c.jsonl?split=test", ["en-test/c.jsonl"]),
        ("?subset=en", "several splits.*`fit`, `test`"),
        ("?subset=de", "no subset `de`.*`en`, `default`"),
        ("?split=test", "no split `test`.*`train`"),
        ("/de", "no data at `de`.*all/d.parquet"),
        ("?rows=3", "unknown field `rows`"),
    ],
)
def test_the_card_of_a_data_set_says_what_subsets_and_splits_are(asked: str, found: list[str] | str) -> None:
    def choose() -> list[str]:
        return hub.choose(hub.Address.parse(f"hf://datasets/org/set{asked}"), FILES, CARD)

    if isinstance(found, list):
        assert choose() == found
        return
    with pytest.raises(DataError, match=f"(?s){found}"):
        choose()


STDIN = """
import sys
from pathlib import Path
from fastft.config.schema import SourceConfig
from fastft.core.errors import FastftError
from fastft.data.sources import localize
try:
    for _ in range(2):
        found = localize(SourceConfig(path="-"), cache=Path(sys.argv[1])).files
    print(found[0]["shown"], found[0]["path"])
except FastftError as error:
    sys.exit(str(error))
"""


def test_stdin_is_read_once_and_lies_under_its_content(tmp_path: Path) -> None:
    def pipe(content: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-c", STDIN, str(tmp_path)], input=content, capture_output=True, timeout=120
        )

    first, second, other, empty = pipe(LINES), pipe(LINES), pipe(LINES[::-1]), pipe(b"")
    assert first.stdout == second.stdout != other.stdout, first.stderr
    shown, _, path = first.stdout.decode().strip().partition(" ")
    assert shown == "-"
    assert Path(path).read_bytes() == LINES
    assert empty.returncode != 0
    assert b"empty" in empty.stderr


def test_other_addresses_go_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    folder = f"/rows-{random.Random(tmp_path.name).getrandbits(64):x}"
    system.pipe({f"{folder}/a.jsonl": LINES, f"{folder}/b.jsonl": LINES[::-1], f"{folder}/README.md": b"x"})
    url = f"memory:/{folder}"
    assert [content for _, content in bring(url, tmp_path)] == [LINES, LINES[::-1]]
    assert [content for _, content in bring(f"{url}/b*", tmp_path)] == [LINES[::-1]]
    with pytest.raises(DataError, match="memory://") as failed:
        bring(f"{url}/none.jsonl", tmp_path)
    assert failed.value.code == "data.remote-missing"


def test_an_unknown_scheme_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="htps") as failed:
        bring("htps://host/rows.jsonl", tmp_path)
    assert "https" in (failed.value.hint or "")


def test_config_and_engine_know_the_same_schemes() -> None:
    for scheme in urls.ENGINE:
        with pytest.raises(DataError, match="names no bucket or host"):
            engine().remote_look(f"{scheme}://", engine().Progress(), 1, 0.0)


@pytest.mark.parametrize("kind", ["rows", "text", "bytes", "dataset", "chosen", "frame"])
def test_python_objects_are_sources(kitchen: Kitchen, tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    value: Any = {
        "rows": lambda: iter(ROWS),
        "text": lambda: io.StringIO(LINES.decode()),
        "bytes": lambda: io.BytesIO(LINES),
        "dataset": lambda: datasets.Dataset.from_list(ROWS),
        "chosen": lambda: datasets.Dataset.from_list(ROWS[::-1]).select(range(199, -1, -1)),
        "frame": lambda: datasets.Dataset.from_list(ROWS).to_pandas(),
    }[kind]()
    made = source(value, name="mine", rows=150, cache=tmp_path)
    assert (made.name, made.rows) == ("mine", 150)
    of_file = kitchen.prepare({"path": str(write_jsonl(tmp_path / "rows.jsonl", ROWS)), "rows": 150})
    assert ids_of(kitchen.prepare(made.model_dump(exclude_none=True))) == ids_of(of_file)


def test_objects_that_are_no_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="int"):
        source(3, cache=tmp_path)
    with pytest.raises(DataError, match="row 1 "):
        source([{"text": "a"}, "b"], cache=tmp_path)
    with pytest.raises(DataError, match="row 0 "):
        source([{"text": {1, 2}}], cache=tmp_path)


def test_a_source_says_what_its_text_is_encoded_in(kitchen: Kitchen, tmp_path: Path) -> None:
    rows = "".join(json.dumps(chat("Кто ты?", f"ответ {number}"), ensure_ascii=False) + "\n" for number in range(20))
    wide, plain = tmp_path / "wide.jsonl", tmp_path / "plain.jsonl"
    wide.write_bytes(rows.encode("utf-16le"))
    plain.write_text(rows, "utf-8")
    said = kitchen.prepare({"path": str(wide), "encoding": "utf-16le"})
    assert ids_of(said) == ids_of(kitchen.prepare(plain))
    with pytest.raises(DataError, match=r"wide\.jsonl.*UTF-16"):
        kitchen.prepare(wide)
    with pytest.raises(DataError, match="`klingon`, which is no encoding"):
        kitchen.prepare({"path": str(plain), "encoding": "klingon"})
