"""Files come whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastft.core import paths


def test_the_cache_is_where_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTFT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert paths.cache_folder() == Path.home() / ".cache" / "fastft"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert paths.cache_folder() == Path("/x/fastft")
    monkeypatch.setenv("FASTFT_CACHE", "~/c")
    assert paths.cache_folder() == Path.home() / "c"


def test_runs_go_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTFT_RUNS", raising=False)
    assert paths.runs_folder() == Path("runs")
    monkeypatch.setenv("FASTFT_RUNS", "/elsewhere")
    assert paths.runs_folder() == Path("/elsewhere")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.json"
    paths.write_atomic(target, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        paths.write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "a"
    mask = os.umask(0o027)
    try:
        paths.write_atomic(target, b"1")
        assert target.stat().st_mode & 0o777 == 0o640
        target.chmod(0o600)
        paths.write_atomic(target, b"2")
        assert target.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with paths.new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "f").write_text("x")
        assert not target.exists()
    assert (target / "sub" / "f").read_text() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_a_folder_whose_block_raises_never_appears(tmp_path: Path) -> None:
    def interrupted() -> None:
        with paths.new_folder(tmp_path / "out") as folder:
            (folder / "f").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(FileExistsError), paths.new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "mine").read_text() == "x"
