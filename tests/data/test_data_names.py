"""What sources are called, which patterns mean which files, and files of a source that can't be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Kitchen, chat, rejected, write_jsonl

from fastft.config.files import file_problems
from fastft.config.schema import RunConfig, SourceConfig
from fastft.core.errors import DataError
from fastft.core.events import Bus
from fastft.data import Finding, check
from fastft.data.plan import names_of
from fastft.data.sources import names_by_path
from fastft.stages.sft import SFT


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("wiki/*.jsonl", ["wiki/*.jsonl"]),
        ("/data/raw/wiki/**/*.jsonl", ["wiki/**/*.jsonl", "raw/wiki/**/*.jsonl", "data/raw/wiki/**/*.jsonl"]),
        ("./shard-?.jsonl", ["shard-?.jsonl"]),
        ("chat/*", ["chat"]),
        ("chat/", ["chat"]),
        ("chat/rows.jsonl", ["rows"]),
        ("-", ["stdin"]),
        ("s3://bucket/wiki/*.parquet", ["wiki/*.parquet", "bucket/wiki/*.parquet"]),
        ("https://host/rows.jsonl?signature=abc", ["rows"]),
        ("hf://datasets/org/set.v1", ["set.v1"]),
        ("hf://datasets/org/set/data/*.parquet", ["data/*.parquet"]),
    ],
)
def test_a_pattern_is_called_by_its_last_folder(path: str, names: list[str]) -> None:
    assert names_by_path(path) == names


def test_names_are_unique_and_do_not_change_with_what_follows() -> None:
    paths = ["a/wiki/*.jsonl", "b/wiki/*.jsonl", "wiki/*.jsonl", "c/rows.jsonl", "d/rows.jsonl"]
    names = ("wiki/*.jsonl", "b/wiki/*.jsonl", "wiki/*.jsonl-2", "rows", "rows-2")
    for count in range(1, len(paths) + 1):
        assert names_of([SourceConfig(path=path) for path in paths[:count]]) == names[:count]


def test_books_call_patterns_by_their_names(kitchen: Kitchen, tmp_path: Path) -> None:
    for folder in ("wiki", "chat"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "a.jsonl", [chat(folder, "x")])
    prepared = kitchen.prepare(tmp_path / "wiki" / "*.jsonl", tmp_path / "chat" / "*.jsonl")
    assert list(prepared.books["sources"]) == ["chat/*.jsonl", "wiki/*.jsonl"]


def run_config(path: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"path": "owner/name"},
            "data": {"train": [{"path": path}]},
            "stage": {"kind": "sft"},
            "method": {"kind": "lora"},
            "optimizer": {"kind": "adamw"},
        }
    )


def test_brackets_mean_themselves_next_to_stars(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "v[1]").mkdir()
    write_jsonl(tmp_path / "v[1]" / "a.jsonl", [chat("q", "a")])
    write_jsonl(tmp_path / "shard-0.jsonl", [chat("q", "a")])
    good = "v[1]/*.jsonl"
    assert file_problems(run_config(good), tmp_path)[:1] == []
    assert kitchen.prepare({"path": good}, config_dir=tmp_path).books["total"]["used"] == 1
    assert kitchen.prepare({"path": str(tmp_path / good)}).books["total"]["used"] == 1
    for bad in ("shard-[01].jsonl", "shard-[0]*.jsonl", "v1*[1]/*.jsonl"):
        (problem,) = file_problems(run_config(bad), tmp_path)
        assert "`[...]` means itself" in str(problem.hint)
        with pytest.raises(DataError, match="no part of a pattern"):
            kitchen.prepare({"path": bad}, config_dir=tmp_path)


def test_two_stars_within_a_name_are_one(kitchen: Kitchen, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a-b.jsonl", [chat("q", "a")])
    assert file_problems(run_config("a**b.jsonl"), tmp_path) == []
    assert len(file_problems(run_config("a**c.jsonl"), tmp_path)) == 1
    assert kitchen.prepare({"path": str(tmp_path / "a**b.jsonl")}).books["total"]["used"] == 1


@pytest.mark.parametrize("named", [None, {"kind": "alpaca"}])
@pytest.mark.parametrize("threads", [1, 4])
def test_damaged_files_of_a_folder_hide_nothing_of_the_others(
    kitchen: Kitchen, tmp_path: Path, named: Any, threads: int
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    row = json.dumps({"instruction": "a question", "output": "an answer"}) + "\n"
    (folder / "a.jsonl").write_text(f"{row}broken\n")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress((row * 5000 + "{}\n").encode(), mtime=0)[:-40])
    (folder / "c.parquet").write_bytes(b"PAR1 is all it has PAR1")
    (folder / "d.jsonl").write_text(f"{row}{{}}\n")
    (folder / "e.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no more")
    found: list[Finding] = []
    config = kitchen.config({"path": str(folder), "format": named}, threads=threads)
    (checked,) = check(config, SFT(), found=found.append, cache=kitchen.cache, bus=Bus())
    told = [(Path(str(finding.file)).name, finding.line, finding.code) for finding in found]
    assert [each for each in told if each[2] != "E_SOURCE"] == [("a.jsonl", 2, "E_JSON"), ("d.jsonl", 2, "E_MISSING")]
    assert sorted(each[0] for each in told if each[1] is None) == ["b.jsonl.gz", "c.parquet", "e.jsonl.gz"]
    assert checked["bad"] == {"E_JSON": 1, "E_MISSING": 1, "E_SOURCE": 3}
    assert (checked["files"], checked["format"]["kind"]) == (5, "alpaca")
    with pytest.raises(DataError) as caught:  # preparing does not go on without a file
        kitchen.prepare({"path": str(folder), "format": named}, threads=threads)
    assert caught.value.path is not None


def test_an_encoding_of_columns_is_an_error_with_its_place(kitchen: Kitchen, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"instruction": ["q"], "output": ["a"]}), path)
    with pytest.raises(DataError, match="whose text is UTF-8 always; leave `encoding` out") as caught:
        kitchen.prepare({"path": str(path), "encoding": "latin1"})
    assert caught.value.path == str(path)
    assert f"--> {path}" in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-16", r"is in UTF-16: name its encoding \(`utf-16le`\), or convert it to UTF-8"),
        ("utf-16-le", r"UTF-16 without a byte order mark: name its encoding, or convert it to UTF-8"),
    ],
)
def test_wide_characters_without_an_encoding_are_told_with_the_way_out(
    kitchen: Kitchen, tmp_path: Path, codec: str, said: str
) -> None:
    path = tmp_path / "wide.jsonl"
    path.write_bytes((json.dumps(chat("q", "a")) + "\n").encode(codec))
    with pytest.raises(DataError, match=said):
        kitchen.prepare(path)
    named = kitchen.prepare({"path": str(path), "encoding": "utf-16le"})
    assert named.books["total"]["used"] == 1


def test_an_empty_question_is_set_aside_with_its_place(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("", "a"), chat(" \n", "a")])
    prepared = kitchen.prepare(path, max_bad_fraction=1.0)
    assert prepared.books["total"]["quarantined"] == {"E_EMPTY": 2}
    rows = rejected(prepared.train.folder)
    assert [(row["line"], row["at"]) for row in rows] == [(2, "messages[0].content"), (3, "messages[0].content")]
