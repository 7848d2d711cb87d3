"""The road from end to end: real rows, the real engine, a real (tiny) model."""

from __future__ import annotations

import io
import json
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastft import models
from fastft.config.schema import RunConfig
from fastft.core.errors import ConfigError, DivergedError, Preempted, ResourceError, ResumeError
from fastft.core.events import Bus, Event, StepEnded
from fastft.run import dry_run, load_run, train
from fastft.run.sinks import Lines

pytest.importorskip("fastft._engine", reason="the data engine is not built")


def config(tiny: Path, rows: Path, **changes: Any) -> RunConfig:
    tree: dict[str, Any] = {
        "name": "road",
        "steps": 6,
        "model": {"path": str(tiny)},
        "data": {"train": [{"path": str(rows), "format": {"kind": "alpaca"}}], "max_length": 64},
        "stage": {"kind": "sft"},
        "method": {"kind": "lora", "rank": 4, "dropout": 0.1},
        "optimizer": {"kind": "adamw", "lr": 1e-2},
        "batch": {"windows": 4, "micro": 2},
        "checkpoint": {"every": 2},
        "log": {"tensorboard": False},
        "device": "cpu",
    }
    for key, value in changes.items():
        *path, name = key.split("__")
        table = tree
        for part in path:
            table = table.setdefault(part, {})
        table[name] = value
    return RunConfig.model_validate(tree)


class SignalAt:
    """A sink that signals this process at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if isinstance(event, StepEnded) and event.step == self.step:
            signal.raise_signal(signal.SIGTERM)

    def close(self) -> None:
        pass


def final(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = (folder / "final").glob("*.safetensors")
    return load_file(path)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=0, atol=atol) for name in a)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT, when it loads an adapter
def test_a_run_leaves_what_a_run_should(tiny: Path, rows: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "run"
    run = train(config(tiny, rows, eval__fraction=0.2, log__tensorboard=True, steps=8), out=out, bus=Bus())
    assert run.path == out
    assert run.status == "finished"
    assert [entry["step"] for entry in run.history] == list(range(1, 9))
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    record = run.record
    assert record["data"]["books"]["total"]["read"] == 40
    assert record["plan"]["windows_per_step"] == 4
    assert record["total_steps"] == 8
    assert record["progress"]["eval_loss"] == pytest.approx(
        next(event["loss"] for event in run.events if event["event"] == "evaluated")
    )
    assert {"torch", "transformers", "peft", "fastft", "python"} <= record["versions"].keys()
    assert record["hardware"]["cores"] > 0
    assert run.config == config(tiny, rows, eval__fraction=0.2, log__tensorboard=True, steps=8)
    for name in ("config.toml", "events.jsonl", "loss.png", "data/manifest.json", "data/rejected.jsonl"):
        assert (out / name).is_file(), name
    assert list((out / "tensorboard").iterdir())
    assert not list(out.glob(".tmp*"))
    assert load_run(out).latest_checkpoint() == run.checkpoints()[-1]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), out / "final")
    AutoTokenizer.from_pretrained(out / "final")
    weights = {name: tensor for name, tensor in model.named_parameters() if "lora" in name}
    saved = run.checkpoints()[-1].tensors("trained")
    assert same({name: tensor.detach() for name, tensor in weights.items()}, saved)


def test_a_stopped_run_goes_on_to_the_very_same_weights(tiny: Path, rows: Path, tmp_path: Path) -> None:
    run = config(tiny, rows)
    train(run, out=tmp_path / "whole", bus=Bus())
    with pytest.raises(Preempted, match="SIGTERM stopped the run after step 3 of 6"):
        train(run, out=tmp_path / "broken", bus=Bus([SignalAt(3)]))
    assert load_run(tmp_path / "broken").status == "stopped"
    resumed = train(run, out=tmp_path / "broken", bus=Bus())
    assert resumed.status == "finished"
    assert same(final(tmp_path / "whole"), final(tmp_path / "broken"))
    losses = [
        [(entry["step"], entry["loss"]) for entry in load_run(tmp_path / name).history] for name in ("whole", "broken")
    ]
    assert losses[0] == losses[1]
    assert [start["step"] for start in resumed.record["starts"]] == [0, 3]


def test_a_finished_run_is_not_trained_again(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(config(tiny, rows, steps=2), out=tmp_path / "run", bus=Bus())
    before = (run.path / "run.json").read_bytes(), (run.path / "events.jsonl").read_bytes()
    monkeypatch.setattr(models, "load", None)
    stream = io.StringIO()
    bus = Bus([Lines(config(tiny, rows).log, stream)])
    again = train(config(tiny, rows, steps=2), out=tmp_path / "run", bus=bus)
    assert stream.getvalue() == f"`{run.path}` is finished already; nothing was trained\n"
    assert again.path == run.path
    assert ((run.path / "run.json").read_bytes(), (run.path / "events.jsonl").read_bytes()) == before


def test_a_finished_run_can_be_made_longer(tiny: Path, rows: Path, tmp_path: Path) -> None:
    train(config(tiny, rows, steps=2), out=tmp_path / "run", bus=Bus())
    run = train(config(tiny, rows, steps=4), out=tmp_path / "run", bus=Bus())
    assert [entry["step"] for entry in run.history] == [1, 2, 3, 4]
    assert run.summary()["step"] == 4


def test_a_run_is_not_made_shorter_than_it_is(tiny: Path, rows: Path, tmp_path: Path) -> None:
    train(config(tiny, rows, steps=4), out=tmp_path / "run", bus=Bus())
    with pytest.raises(ResumeError, match="after step 4, and the run is to have 2 steps"):
        train(config(tiny, rows, steps=2), out=tmp_path / "run", bus=Bus())


def test_a_kill_inside_final_leaves_nothing_behind(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last step the run is started again: no step is made, `final/` is whole and alone."""

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(import_module("fastft.run.train"), "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config(tiny, rows, steps=2), out=out, bus=Bus())
    (out / ".old-final-0a").mkdir()
    assert list(out.glob(".tmp-final-*"))
    assert not (out / "final").exists()
    run = train(config(tiny, rows, steps=2), out=out, bus=Bus())
    assert [entry["step"] for entry in run.history] == [1, 2]
    assert run.status == "finished"
    assert not list(out.glob(".*-final-*"))
    assert final(out)


def test_a_full_disk_under_final_is_told_and_the_run_goes_on_later(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(*args: Any, **kwargs: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(models, "save_trained", full)
        with pytest.raises(ResourceError, match=r"final` could not be written: .*No space left"):
            train(config(tiny, rows, steps=2), out=out, bus=Bus())
    assert not list(out.glob(".tmp-final-*"))
    assert load_run(out).record["error"]["code"] == "run.final-failed"
    assert train(config(tiny, rows, steps=2), out=out, bus=Bus()).status == "finished"


def test_a_disk_too_full_for_the_record_does_not_hide_what_ended_the_run(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastft.run import record

    out = tmp_path / "run"
    write = record.write_atomic

    def fills(path: Path, content: str) -> None:
        if '"status": "failed"' in content:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(record, "write_atomic", fills)
    run = config(tiny, rows, method={"kind": "full"}, optimizer={"kind": "sgd", "lr": 1e30}, max_grad_norm=0)
    with pytest.raises(DivergedError):
        train(run, out=out, bus=Bus())
    assert "run.record" in [event["code"] for event in load_run(out).events if event["event"] == "warned"]


def test_no_rank_waits_for_others_when_the_run_is_finished(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 leaves at once; another rank would have waited for it in the process group."""
    train(config(tiny, rows, steps=2), out=tmp_path / "run", bus=Bus())
    monkeypatch.setattr(models, "load", None)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert train(config(tiny, rows, steps=2), out=tmp_path / "run", bus=Bus()).path == tmp_path / "run"


def test_other_rows_are_refused_on_resume(tiny: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        train(config(tiny, rows), out=tmp_path / "run", bus=Bus([SignalAt(2)]))
    rows.write_text(rows.read_text().replace("moon", "mars"))
    with pytest.raises(ResumeError, match="rows, tokenizer or template changed"):
        train(config(tiny, rows), out=tmp_path / "run", bus=Bus())


def test_without_a_folder_the_unfinished_run_goes_on(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFT_RUNS", str(tmp_path / "runs"))
    with pytest.raises(Preempted):
        train(config(tiny, rows), bus=Bus([SignalAt(2)]))
    first = train(config(tiny, rows), bus=Bus())
    second = train(config(tiny, rows), bus=Bus())
    assert [start["step"] for start in first.record["starts"]] == [0, 2]
    assert second.path != first.path
    assert len(list((tmp_path / "runs" / "road").iterdir())) == 2
    assert same(final(first.path), final(second.path))


def test_a_run_that_diverges_says_so_and_keeps_what_was_good(tiny: Path, rows: Path, tmp_path: Path) -> None:
    run = config(
        tiny, rows, method={"kind": "full"}, optimizer={"kind": "sgd", "lr": 1e30}, max_grad_norm=0, checkpoint__every=1
    )
    with pytest.raises(DivergedError):
        train(run, out=tmp_path / "run", bus=Bus())
    record = load_run(tmp_path / "run").record
    assert (record["status"], record["error"]["code"]) == ("failed", "run.diverged")
    assert not (tmp_path / "run" / "final").exists()


def test_a_dry_run_counts_and_plans_without_weights_or_a_folder(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(models, "load", None)
    found = dry_run(config(tiny, rows, steps=None, epochs=2))
    assert json.loads(json.dumps(found)) == found
    assert found["data"]["books"]["total"]["read"] == 40
    assert found["steps"] == 2 * found["steps_in_epoch"] == found["plan"]["steps"]
    assert found["config"]["method"]["rank"] == 4
    assert not (tmp_path / "runs").exists()


def test_s2_attention_trains_in_groups_that_are_planned_and_told(tiny: Path, rows: Path, tmp_path: Path) -> None:
    losses, groups = {}, {}
    for name, model in {
        "full": {"attention": "auto"},
        "eight": {"attention": "s2", "s2_group": 8},
    }.items():
        run = train(
            config(tiny, rows, model={"path": str(tiny), **model}, method__dropout=0.0, steps=1),
            out=tmp_path / name,
            bus=Bus(),
        )
        losses[name] = [entry["loss"] for entry in run.history]
        groups[name] = run.record["plan"]["s2_group"]
        told = next(event["attention"] for event in run.events if event["event"] == "model_loaded")
        assert told == ("s2 in groups of 8 tokens" if groups[name] else "varlen")
    assert groups == {"full": None, "eight": 8}
    assert losses["full"] != losses["eight"]  # the same weights and rows: only attention differs
    assert losses["full"] == pytest.approx(losses["eight"], rel=0.05)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tiny: Path, rows: Path, tmp_path: Path) -> None:
    one = train(config(tiny, rows, method__dropout=0.0, steps=4), out=tmp_path / "one", bus=Bus())
    two = train(
        config(tiny, rows, method__dropout=0.0, steps=4, strategy__processes=2), out=tmp_path / "two", bus=Bus()
    )
    assert two.status == "finished"
    assert two.record["plan"]["world"] == 2
    assert same(final(one.path), final(two.path), atol=1e-5)
    assert [entry["loss"] for entry in one.history] == pytest.approx([entry["loss"] for entry in two.history], abs=1e-6)


def test_a_cluster_without_a_common_folder_is_refused(tiny: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without a common folder"):
        train(config(tiny, rows), bus=Bus())
