"""What a folder holds that is not read, what can't be used as a cache, and numbers out of all bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, chat, write_jsonl
from pydantic import ValidationError

from fastft.cli import console
from fastft.core.errors import DataError, ResourceError


def test_files_that_a_folder_leaves_out_are_named(kitchen: Kitchen, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [chat("one", "two")])
    for name in ("c.png", "LICENSE", "README.md", ".hidden"):
        (tmp_path / name).write_text("about")
    heard = Heard()
    made = kitchen.prepare(tmp_path, heard=heard)
    assert made.books["total"]["read"] == 1
    (told,) = [event for event in heard.events if event.event == "warned" and event.code == "data.left-out"]
    assert all(f"`{name}`" in told.message for name in ("c.png", "LICENSE", "README.md"))
    assert ".hidden" not in told.message


@pytest.mark.parametrize("ending", ["xz", "bz2", "7z", "zip", "rar", "lz4"])
def test_a_packed_file_in_a_folder_is_not_passed_over(kitchen: Kitchen, tmp_path: Path, ending: str) -> None:
    write_jsonl(tmp_path / "a.jsonl", [chat("one", "two")])
    (tmp_path / f"train.jsonl.{ending}").write_bytes(b"?")
    with pytest.raises(DataError, match=rf"train\.jsonl\.{ending}") as caught:
        kitchen.prepare(tmp_path)
    assert "gzip or zstd" in str(caught.value)


def test_a_cache_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, Path("/proc/none/such")):
        monkeypatch.setenv("FASTFT_CACHE", str(folder))
        with pytest.raises(OSError) as caught:
            (folder / "tokenizers").mkdir(parents=True, exist_ok=True)
        problem = console.os_problem(caught.value)
        assert isinstance(problem, ResourceError)
        assert str(folder) in str(problem)
        assert "FASTFT_CACHE" in str(problem)
    assert console.os_problem(FileNotFoundError(2, "gone", str(tmp_path / "ours"))) is None  # still a bug


@pytest.mark.parametrize(
    "options",
    [{"max_length": 10**20}, {"threads": 100_000}, {"train": [{"path": "a", "repeat": 10**12}]}],
)
def test_huge_numbers_are_refused_by_the_config(kitchen: Kitchen, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="less than or equal"):
        kitchen.config(Path("a.jsonl"), **options)
