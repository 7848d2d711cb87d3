from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import run_helpers as helpers
from test_resume import make_run

from fastft.core.errors import NotFoundError, ResourceError
from fastft.run.registry import claim, list_runs, load_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTFT_RUNS", str(tmp_path / "runs"))
    for name, folder in (("tiny", "a"), ("tiny", "ab"), ("other", "abc")):
        make_run(tmp_path / "runs" / name / folder, helpers.config(name=name), status="finished")
    (tmp_path / "runs" / "tiny" / "broken").mkdir()
    (tmp_path / "runs" / "tiny" / "broken" / "run.json").write_text("{")
    return tmp_path / "runs"


def test_runs_are_found_newest_first_and_what_is_no_run_is_passed_over(runs: Path) -> None:
    assert [run.path.name for run in list_runs()] == ["abc", "ab", "a"]
    assert list_runs(runs / "nowhere") == []


def test_a_run_whose_folder_was_named_is_listed_too(runs: Path) -> None:
    make_run(runs / "quickstart", helpers.config(name="other"), status="finished")
    assert [run.path.name for run in list_runs()] == ["quickstart", "abc", "ab", "a"]


@pytest.mark.parametrize(("word", "folder"), [("tiny", "ab"), ("a", "a"), ("other", "abc"), ("tiny/a", "a")])
def test_a_run_is_found_by_folder_id_or_name(runs: Path, word: str, folder: str) -> None:
    assert load_run(word).path.name == folder
    assert load_run(runs / "tiny" / "a").path.name == "a"


def test_a_run_that_is_not_there_brings_the_nearest_name(runs: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no run `tyny`") as error:
        load_run("tyny")
    assert error.value.hint == "did you mean `tiny`?"
    assert error.value.exit_code == 2


def test_a_run_tells_what_it_was(runs: Path) -> None:
    run = load_run("other")
    assert run.config == helpers.config(name="other")
    latest = run.latest_checkpoint()
    assert latest is not None
    assert latest.step == 4
    summary = run.summary()
    assert (summary["name"], summary["status"], summary["method"]) == ("other", "finished", "full")


def test_looking_at_runs_needs_no_torch(runs: Path) -> None:
    code = (
        "import sys; from fastft.run.registry import list_runs;"
        "assert list_runs()[0].summary()['name'] == 'other' and list_runs()[0].latest_checkpoint();"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_that_cannot_be_made_is_told_with_the_reason() -> None:
    with pytest.raises(ResourceError, match="`/proc/nowhere` can't be written: "), claim(Path("/proc/nowhere")):
        pass
