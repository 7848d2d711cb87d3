from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import run_helpers as helpers

from fastft.config.schema import RunConfig
from fastft.core.errors import ResourceError, ResumeError
from fastft.run import checkpoint, registry, resume
from fastft.run.registry import Run


def make_run(folder: Path, run: RunConfig, *, status: str = "stopped", steps: tuple[int, ...] = (2, 4)) -> Path:
    """A run's folder as one that was trained leaves it."""
    facts = {"config": resume.values(run), "config_key": resume.config_key(run), "data_key": "d"}
    for step in steps:
        checkpoint.write(folder / "checkpoints", step, {"trainer": facts}, {}, facts={})
    record = {"name": run.name, "status": status, "created": f"2026-01-01T00:00:{len(folder.name):02d}", **facts}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record))
    if status == "finished":
        (folder / "final").mkdir()
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTFT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_auto_goes_on_in_the_folder_that_is_named(tmp_path: Path) -> None:
    run = helpers.config()
    assert resume.choose(run, tmp_path / "new", "auto") == resume.Start(tmp_path / "new")
    start = resume.choose(run, make_run(tmp_path / "old", run), "auto")
    assert start.saved is not None
    assert (start.folder, start.saved.step, start.finished) == (tmp_path / "old", 4, False)


def test_auto_without_a_folder_takes_the_newest_unfinished_run_of_the_same_config(runs: Path) -> None:
    run = helpers.config()
    make_run(runs / "tiny" / "a", run)
    newest = make_run(runs / "tiny" / "ab", run)
    make_run(runs / "tiny" / "abc", helpers.config(optimizer__lr=0.5))
    make_run(runs / "other" / "abcd", helpers.config(name="other"))
    assert resume.choose(run, None, "auto").folder == newest
    make_run(runs / "tiny" / "abcde", run, status="finished")
    start = resume.choose(run, None, "auto")
    assert start.saved is None
    assert start.folder.parent == runs / "tiny"
    assert not start.folder.exists()


def test_auto_leaves_a_run_alone_that_another_process_trains(runs: Path) -> None:
    run = helpers.config()
    folder = make_run(runs / "tiny" / "a", run, status="running")
    assert Run(folder).status == "interrupted"
    with registry.claim(folder):
        assert Run(folder).status == "running"
        assert resume.choose(run, None, "auto").folder != folder
        with pytest.raises(ResourceError, match="another process is training"), registry.claim(folder):
            pass
    assert resume.choose(run, None, "auto").folder == folder


def test_never_begins_anew_and_never_over_a_run(tmp_path: Path, runs: Path) -> None:
    run = helpers.config()
    folder = make_run(runs / "tiny" / "a", run)
    assert resume.choose(run, None, "never").folder != folder
    with pytest.raises(ResumeError, match="does not write over one"):
        resume.choose(run, folder, "never")


def test_a_finished_run_is_finished_unless_it_is_to_be_longer(tmp_path: Path) -> None:
    run = helpers.config()
    folder = make_run(tmp_path / "old", run, status="finished")
    assert resume.choose(run, folder, "auto").finished
    assert resume.choose(helpers.config(log__every=7), folder, "auto").finished
    (folder / "final").rmdir()
    assert not resume.choose(run, folder, "auto").finished  # what it trained is gone: it is made again
    (folder / "final").mkdir()
    longer = resume.choose(helpers.config(steps=99), folder, "auto")
    assert not longer.finished
    assert longer.saved is not None


@pytest.mark.parametrize("how", ["auto", "never", "checkpoint"])
@pytest.mark.parametrize("name", ["final", "checkpoints"])
def test_what_a_run_would_replace_is_never_in_its_way(tmp_path: Path, how: str, name: str) -> None:
    """`--out` on a folder of the user's own: its `final` would have been swapped for ours and deleted."""
    run = helpers.config()
    if how == "checkpoint":
        how = str(make_run(tmp_path / "old", run))
    (tmp_path / "mine" / name).mkdir(parents=True)
    assert resume.choose(run, tmp_path / "mine", how).folder == tmp_path / "mine"
    (tmp_path / "mine" / name / "weights").write_text("precious")
    with pytest.raises(ResumeError, match=f"holds `{name}`"):
        resume.choose(run, tmp_path / "mine", how)


@pytest.mark.parametrize("how", ["auto", "never", "checkpoint"])
@pytest.mark.parametrize("name", ["diary.txt", "config.toml", "data/manifest.json", "photos/x.png", ".lock/x"])
def test_a_folder_with_files_of_others_is_no_place_for_a_run(tmp_path: Path, how: str, name: str) -> None:
    run = helpers.config()
    if how == "checkpoint":
        how = str(make_run(tmp_path / "old", run))
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("dear")
    with pytest.raises(ResumeError, match=f"and holds `{name.split('/')[0]}`") as error:
        resume.choose(run, tmp_path / "mine", how)
    assert error.value.hint is not None
    assert "empty folder for `--out`" in error.value.hint
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name.split("/")[0]]


def test_what_a_start_left_that_came_to_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    run, folder = helpers.config(), tmp_path / "out"
    (folder / "data").mkdir(parents=True)
    (folder / "lost+found").mkdir()
    for name in (".lock", "config.toml", "config.input.toml", ".run.json.a1b2.tmp", "data/manifest.json"):
        (folder / name).touch()
    assert resume.choose(run, folder, "auto") == resume.Start(folder)
    (folder / "data" / "photo.png").touch()
    with pytest.raises(ResumeError, match=r"holds `data/photo\.png`"):
        resume.choose(run, folder, "auto")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is no JSON"),
        ("[]", "it holds no object"),
        ('{"name": "x"}', "it has no `status`"),
        ("\xff", "no JSON"),
    ],
)
def test_a_damaged_record_is_told_with_its_file_and_a_way_on(tmp_path: Path, text: str, why: str) -> None:
    run, folder = helpers.config(), tmp_path / "old"
    make_run(folder, run)
    (folder / "run.json").write_text(text, "latin-1")
    for how in ("auto", str(folder / "checkpoints" / "step-00000002")):
        if how == "auto":
            with pytest.raises(ResumeError, match=why) as error:
                resume.choose(run, folder, how)
            assert str(folder / "run.json") in error.value.message
            assert error.value.exit_code == 7
        (folder / "run.json").unlink(missing_ok=True)
    start = resume.choose(run, None, str(folder / "checkpoints" / "step-00000002"))
    assert start.saved is not None
    assert start.saved.step == 2


def test_a_place_that_can_not_be_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (Path("/proc/x"), tmp_path / "file" / "x", tmp_path / "file"):
        with pytest.raises(ResourceError, match="can't be written"), registry.claim(resume._free(place)):
            pass


def test_a_named_checkpoint_is_taken_and_later_ones_are_set_aside(tmp_path: Path) -> None:
    run = helpers.config()
    folder = make_run(tmp_path / "old", run)
    said: list[str] = []
    start = resume.choose(run, None, str(folder / "checkpoints" / "step-00000002"), said.append)
    assert start.saved is not None
    assert (start.folder.resolve(), start.saved.step) == (folder.resolve(), 2)
    assert [saved.step for saved in checkpoint.find(folder / "checkpoints")] == [2]
    assert "step-00000004" in said[0]


def test_a_named_run_may_be_gone_on_with_elsewhere(tmp_path: Path) -> None:
    run = helpers.config()
    folder = make_run(tmp_path / "old", run)
    start = resume.choose(run, tmp_path / "new", str(folder))
    assert start.saved is not None
    assert (start.folder, start.saved.step) == (tmp_path / "new", 4)
    assert len(checkpoint.find(folder / "checkpoints")) == 2
    with pytest.raises(ResumeError, match="holds another run"):
        resume.choose(run, make_run(tmp_path / "third", run), str(folder))


@pytest.mark.parametrize("what", ["missing", "broken"])
def test_a_checkpoint_that_can_not_be_used_is_an_error_and_no_fresh_start(tmp_path: Path, what: str) -> None:
    run = helpers.config()
    path = make_run(tmp_path / "old", run) / "checkpoints" / ("step-00000004" if what == "broken" else "step-00000077")
    if what == "broken":
        (path / "trainer.json").write_text("{}")
    with pytest.raises(ResumeError, match="no checkpoint that can be used"):
        resume.choose(run, None, str(path))


MATTERS: list[dict[str, Any]] = [
    {"seed": 4},
    {"model__path": "other"},
    {"model__dtype": "bfloat16"},
    {"data__max_length": 64},
    {"data__packing": "none"},
    {"data__seed": 1},
    {"data__train": [{"path": "rows.jsonl", "repeat": 2}]},
    {"method": {"kind": "lora"}},
    {"stage": {"kind": "pretrain"}},
    {"optimizer": {"kind": "sgd", "lr": 1e-2}},
    {"optimizer__betas": [0.9, 0.95]},
    {"schedule__kind": "linear"},
    {"batch__windows": 8},
    {"max_grad_norm": 0.5},
    {"eval__fraction": 0.1},
    {"model__attention": "s2"},
]
MAY_CHANGE: list[dict[str, Any]] = [
    {"name": "other"},
    {"steps": 60},
    {"optimizer__lr": 1e-3},
    {"log__every": 5},
    {"log__tensorboard": True},
    {"checkpoint__every": 1},
    {"checkpoint__keep": 9},
    {"eval__every": 3},
    {"batch__micro": 1},
    {"strategy__processes": 2},
    {"data__threads": 1},
    {"data__train": [{"path": "moved/rows.jsonl"}]},
    {"data__train": [{"path": "rows.jsonl", "ignore": ["id", "score"]}]},
    {"model__attention": "sdpa"},
    {"model__recompute": "full"},
]


@pytest.mark.parametrize("change", MATTERS, ids=str)
def test_a_change_of_what_decides_the_result_is_refused_with_the_difference(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = make_run(tmp_path / "old", helpers.config())
    with pytest.raises(ResumeError) as error:
        resume.choose(helpers.config(**change), folder, "auto")
    assert error.value.exit_code == 7
    assert next(iter(change)).replace("__", ".") in error.value.message
    assert " -> " in error.value.message


@pytest.mark.parametrize("change", MAY_CHANGE, ids=str)
def test_what_does_not_decide_the_result_may_change(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = make_run(tmp_path / "old", helpers.config())
    assert resume.choose(helpers.config(**change), folder, "auto").saved is not None


def test_the_size_of_groups_is_kept(tmp_path: Path) -> None:
    before = helpers.config(model={"path": "tiny", "attention": "s2", "s2_group": 8})
    folder = make_run(tmp_path / "old", before)
    assert resume.choose(before, folder, "auto").saved is not None
    for change in ({"attention": "s2", "s2_group": 16}, {"attention": "s2"}, {"attention": "sdpa"}):
        with pytest.raises(ResumeError, match=r"model\.(s2_group|attention)"):
            resume.choose(helpers.config(model={"path": "tiny", **change}), folder, "auto")


def test_a_start_that_learnt_nothing_does_not_keep_its_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "old", helpers.config(), status="failed", steps=())
    assert resume.choose(helpers.config(seed=4), folder, "auto") == resume.Start(folder)


def test_another_length_or_rate_is_told_when_a_run_goes_on(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "old", helpers.config())
    told: list[str] = []
    resume.choose(helpers.config(steps=70, optimizer={"kind": "adamw", "lr": 0.5}), folder, "auto", told.append)
    rate = helpers.config().optimizer.lr
    assert [text.split(" was ")[0] for text in told] == ["`steps`", "`optimizer.lr`"]
    assert told[1] == f"`optimizer.lr` was {rate} and is 0.5 from here on"


def test_a_refusal_reads_as_a_list_of_differences(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "old", helpers.config())
    with pytest.raises(ResumeError) as error:
        resume.choose(helpers.config(seed=4, optimizer={"kind": "sgd", "lr": 0.01}), folder, "auto")
    text = str(error.value).replace(str(tmp_path), "")
    assert text == (
        "error[run.resume-refused]: `/old` belongs to another run; 7 values changed:\n"
        "  seed: 3 -> 4\n"
        '  optimizer.kind: "adamw" -> "sgd"\n'
        "  optimizer.momentum: absent -> 0.0\n"
        "  optimizer.nesterov: absent -> false\n"
        "  optimizer.betas[0]: 0.9 -> absent\n"
        "  optimizer.betas[1]: 0.999 -> absent\n"
        "  optimizer.eps: 1e-08 -> absent\n"
        "hint: change them back to go on, or begin anew with another `--out`"
    )


def test_other_data_is_refused(tmp_path: Path) -> None:
    saved = checkpoint.latest(make_run(tmp_path / "old", helpers.config()) / "checkpoints")
    assert saved is not None
    resume.require_same_data(saved, "d")
    with pytest.raises(ResumeError, match=r"rows, tokenizer or template changed \(key d -> e\)"):
        resume.require_same_data(saved, "e")
