from __future__ import annotations

import math
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import run_helpers as helpers
import torch
from torch.nn import functional as F

from fastft.config.kinds import Batch, Loss
from fastft.core.errors import DivergedError, Preempted, ResourceError
from fastft.core.events import Evaluated, Saved, StepEnded
from fastft.run import checkpoint
from fastft.run.loop import total_steps
from fastft.run.signals import Signals


def test_the_loop_equals_a_plain_one(tmp_path: Path) -> None:
    run = helpers.config(max_grad_norm=0.5)
    loop, heard = helpers.loop(run, tmp_path, dropout=0.0)
    feed, model = helpers.Feed(), helpers.Model(0.0)
    model.load_state_dict(loop.model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    loop.run()
    for event in heard.of(StepEnded):
        batches = feed.next_step()
        weight = sum(batch.num_targets for batch in batches)
        loss = sum(F.cross_entropy(model(b.input_ids)[0], b.targets[0], reduction="sum") for b in batches) / weight
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = event.lr
        optimizer.step()
        assert event.loss == pytest.approx(loss.item(), abs=1e-6)
        assert event.grad_norm == pytest.approx(norm.item(), abs=1e-6)
        assert event.trained_tokens == weight
    for mine, theirs in zip(loop.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert len(heard.of(StepEnded)) == 6


def test_accumulation_does_not_change_what_is_learnt(tmp_path: Path) -> None:
    """Lengths differ and the third step is ragged, so a mean of means would show."""
    results = []
    for micro in (1, 2, 3, 4):
        run = helpers.config(batch__micro=micro)
        loop, heard = helpers.loop(run, tmp_path / str(micro), dropout=0.0)
        loop.run()
        results.append((helpers.weights(loop), [event.loss for event in heard.of(StepEnded)]))
    for weights, losses in results[1:]:
        assert losses == pytest.approx(results[0][1], abs=1e-6)
        assert all(torch.allclose(weights[name], results[0][0][name], atol=1e-6) for name in weights)


def test_metrics_are_means_over_the_targets_of_the_step(tmp_path: Path) -> None:
    loop, heard = helpers.loop(helpers.config(steps=1), tmp_path)
    loop.run()
    accuracy = heard.of(StepEnded)[0].metrics["accuracy"]
    right = accuracy * heard.of(StepEnded)[0].trained_tokens
    assert right == pytest.approx(round(right))
    assert 0 <= accuracy < 1


@pytest.mark.parametrize(("bound", "clipped"), [(0.0, False), (1e9, False), (0.01, True)])
def test_the_gradient_norm_is_bounded_as_asked(tmp_path: Path, bound: float, clipped: bool) -> None:
    run = helpers.config(optimizer={"kind": "sgd", "lr": 1.0}, max_grad_norm=bound, steps=1, schedule__kind="constant")
    loop, heard = helpers.loop(run, tmp_path)
    before = helpers.weights(loop)
    loop.run()
    moved = math.sqrt(sum(float((before[name] - new).norm()) ** 2 for name, new in helpers.weights(loop).items()))
    event = heard.of(StepEnded)[0]
    assert moved == pytest.approx(event.lr * (min(bound, event.grad_norm) if clipped else event.grad_norm), rel=1e-3)


def test_the_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    run = helpers.config()
    loop, heard = helpers.loop(run, tmp_path)
    loop.run()
    assert run.schedule is not None
    assert [event.lr for event in heard.of(StepEnded)] == [1e-2 * run.schedule.factor(step, 6) for step in range(6)]


class _Poisoned(helpers.Objective):
    """Returns what is not finite at one call."""

    def __init__(self, call: int, what: str) -> None:
        self.left, self.what = call, what

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        loss = super().loss(model, batch)
        self.left -= 1
        if self.left:
            return loss
        if self.what == "loss":
            return Loss(loss.total * math.nan, loss.weight, loss.metrics)
        parameter = model.get_parameter("embedding.weight")  # the loss stays finite, its gradient does not: sqrt at 0
        return Loss(loss.total + (parameter.sum() * 0).abs().sqrt(), loss.weight, loss.metrics)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_ends_the_run_before_it_is_applied(tmp_path: Path, what: str) -> None:
    loop, heard = helpers.loop(helpers.config(batch__micro=4), tmp_path, objective=_Poisoned(4, what))
    with pytest.raises(DivergedError, match=r"step 4 has the loss .* it was not applied \(windows \d+, \d+") as error:
        loop.run()
    assert error.value.exit_code == 6
    assert loop.progress.step == 3
    assert all(bool(torch.isfinite(weight).all()) for weight in loop.model.parameters())
    kept = checkpoint.latest(tmp_path)
    assert kept is not None
    assert kept.step == 2
    assert len(heard.of(StepEnded)) == 3


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    run = helpers.config(optimizer={"kind": "sgd", "lr": 1e38}, max_grad_norm=0, checkpoint__every=1, steps=3)
    loop, _ = helpers.loop(run, tmp_path)
    with pytest.raises(DivergedError):
        loop.run()
    for saved in checkpoint.find(tmp_path):
        assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.tensors("trained").values())


@pytest.mark.parametrize("optimizer", [{"kind": "adamw"}, {"kind": "sgd", "momentum": 0.9}, {"kind": "adafactor"}])
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(tmp_path: Path, stop: int, optimizer: dict[str, Any]) -> None:
    run = helpers.config(checkpoint__every=1, checkpoint__keep=9, optimizer={**optimizer, "lr": 1e-2})
    whole, heard = helpers.loop(run, tmp_path)
    whole.run()
    again, heard_again = helpers.loop(run, tmp_path / "again")
    with torch.no_grad():
        for parameter in again.model.parameters():
            parameter.add_(parameter.requires_grad * 1.0)  # nothing may be left of what was there
    torch.manual_seed(999)
    told = again.progress
    again.restore(checkpoint.load(tmp_path / f"step-{stop:08d}"))
    again.run()
    assert helpers.equal(helpers.weights(whole), helpers.weights(again))

    def plain(event: StepEnded) -> dict[str, Any]:
        unsure = ("time", "seconds", "tokens_per_second", "memory_bytes")
        return {key: value for key, value in asdict(event).items() if key not in unsure}

    assert [plain(e) for e in heard.of(StepEnded)[stop:]] == [plain(e) for e in heard_again.of(StepEnded)]
    assert told is again.progress
    assert again.progress.tokens == whole.progress.tokens


def test_saving_and_evaluating_do_not_change_what_is_learnt(tmp_path: Path) -> None:
    quiet, _ = helpers.loop(helpers.config(checkpoint__every=0), tmp_path / "quiet")
    quiet.run()
    busy, heard = helpers.loop(
        helpers.config(checkpoint__every=1, eval__every=1),
        tmp_path / "busy",
        evaluation=lambda: helpers.Feed().next_step(),
    )
    busy.run()
    assert helpers.equal(helpers.weights(quiet), helpers.weights(busy))
    assert len(heard.of(Evaluated)) == 6
    assert [saved.step for saved in checkpoint.find(tmp_path / "quiet")] == [6]


@pytest.mark.parametrize("step", [2, 6])
def test_a_signal_breaks_off_an_evaluation_and_the_next_start_begins_with_it(tmp_path: Path, step: int) -> None:
    run = helpers.config(eval__every=2)
    scored: list[int] = []

    def rows(loop_: Any, at: int) -> Any:
        for number, batch in enumerate(helpers.Feed().next_step()):
            scored.append(number)
            if loop_().progress.step == at:
                loop_().signals.received = "SIGTERM"
            yield batch

    broken: list[Any] = []
    loop, heard = helpers.loop(run, tmp_path, evaluation=lambda: rows(lambda: broken[0], step))
    broken.append(loop)
    with pytest.raises(Preempted, match=f"SIGTERM stopped the run after step {step} of 6"):
        loop.run()
    assert [event.step for event in heard.of(Evaluated)] == list(range(2, step, 2))
    assert scored[-1] == 0  # no further row was scored
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    assert (saved.step, saved.score) == (step, None)

    interrupted, _ = helpers.loop(run, tmp_path, evaluation=lambda: rows(lambda: interrupted, -1))
    interrupted.restore(saved)
    interrupted.signals.received = "SIGTERM"
    with pytest.raises(Preempted):
        interrupted.run()

    again, later = helpers.loop(run, tmp_path, evaluation=lambda: rows(lambda: again, -1))
    again.restore(saved)
    again.run()
    assert [event.step for event in later.of(Evaluated)] == list(range(step, 7, 2))
    whole, told = helpers.loop(run, tmp_path / "whole", evaluation=lambda: rows(lambda: whole, -1))
    whole.run()
    assert helpers.equal(helpers.weights(again), helpers.weights(whole))
    assert [e.loss for e in (*heard.of(Evaluated), *later.of(Evaluated))] == [e.loss for e in told.of(Evaluated)]
    scores = [
        {saved.step: saved.score for saved in checkpoint.find(folder)} for folder in (tmp_path, tmp_path / "whole")
    ]
    assert scores[0] == scores[1], "the checkpoint without a score got it"


def test_the_evaluation_is_a_mean_over_tokens_without_dropout(tmp_path: Path) -> None:
    batches = helpers.Feed(micro=1).next_step()
    loop, heard = helpers.loop(helpers.config(), tmp_path, dropout=0.5, evaluation=lambda: batches)
    loop.run()
    loop.model.eval()
    with torch.no_grad():
        total = sum(float(helpers.Objective().loss(loop.model, batch).total) for batch in batches)
    (event,) = heard.of(Evaluated)  # `eval.every = 0` is only at the end
    assert event.trained_tokens == sum(batch.num_targets for batch in batches)
    assert event.loss == pytest.approx(total / event.trained_tokens)


def test_checkpoints_come_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    loop, heard = helpers.loop(helpers.config(checkpoint__every=4, steps=9, checkpoint__keep=2), tmp_path)
    loop.run()
    assert [event.step for event in heard.of(Saved)] == [4, 8, 9]
    assert [saved.step for saved in checkpoint.find(tmp_path)] == [8, 9]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_lets_the_step_end_and_saves_it(tmp_path: Path, name: str) -> None:
    class Interrupting(helpers.Objective):
        calls = 0

        def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
            self.calls += 1
            if self.calls == 5:  # the first micro-batch of the third step
                signal.raise_signal(getattr(signal, name))
            return super().loss(model, batch)

    with Signals() as signals, signals.deferred():
        loop, _ = helpers.loop(helpers.config(checkpoint__every=0), tmp_path, objective=Interrupting(), signals=signals)
        with pytest.raises(Preempted, match=f"{name} stopped the run after step 3 of 6; it is saved") as stopped:
            loop.run()
    assert stopped.value.exit_code == 75
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    assert saved.step == 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_full_disk_ends_the_run_with_the_checkpoint_before_intact(tmp_path: Path) -> None:
    from test_checkpoint import Faulty

    run = helpers.config(checkpoint__every=1)
    helpers.loop(helpers.config(checkpoint__every=1, steps=2), tmp_path)[0].run()
    loop, _ = helpers.loop(run, tmp_path, files=Faulty(3, 28))
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    loop.restore(saved)
    with pytest.raises(ResourceError, match="step 3 could not be written"):
        loop.run()
    assert checkpoint.latest(tmp_path) == saved


def test_nothing_is_pickled_by_saving_or_resuming(tmp_path: Path) -> None:
    """An audit hook can't be taken away, so it is switched."""
    seen: list[str] = []
    active = threading.Event()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if active.is_set() and (event.startswith("pickle.") or event == "marshal.loads"):
            seen.append(f"{event} {args[:2]}")

    sys.addaudithook(hook)
    loop, _ = helpers.loop(helpers.config(), tmp_path)
    active.set()
    try:
        loop.run()
        saved = checkpoint.latest(tmp_path)
        assert saved is not None
        helpers.loop(helpers.config(), tmp_path)[0].restore(saved)
    finally:
        active.clear()
    assert seen == []
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": 5}, 5),
        ({"steps": None, "epochs": 2}, 6),
        ({"steps": None, "epochs": 1.5}, 5),
        ({"steps": None, "epochs": 0.1}, 1),
    ],
)
def test_a_run_is_as_long_as_steps_or_epochs_say(changes: dict[str, Any], expected: int) -> None:
    assert total_steps(helpers.config(**changes), helpers.Feed().steps_in_epoch) == expected
