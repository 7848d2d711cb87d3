"""SIGKILL at random moments, again and again, until the run is through: nothing may be lost or changed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import run_helpers as helpers
import torch

from fastft.core.events import Bus
from fastft.run import checkpoint
from fastft.run.registry import Run
from fastft.run.sinks import EventsFile

STEPS = 40


def _train(folder: Path) -> None:
    """What a start of a run does: find the newest checkpoint, cut the record back, go on."""
    run = helpers.config(steps=STEPS, checkpoint__every=1)
    loop, _ = helpers.loop(run, folder / "checkpoints")
    saved = checkpoint.latest(folder / "checkpoints")
    loop.bus = Bus([EventsFile(folder / "events.jsonl", saved.step if saved is not None else 0)])
    if saved is not None:
        loop.restore(saved)
    loop.run()
    loop.bus.close()


def _fork(work: Callable[[], None]) -> int:
    """Run `work` in a child that has everything imported already."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def _kill_until_through(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Returns how many kills hit a running child, and how many of them inside a save."""
    chance = random.Random(seed)
    hits = inside = 0
    while True:
        child = _fork(lambda: _train(folder))
        if hits < kills:
            time.sleep(chance.uniform(0.02, 0.25))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a resume failed"
            return hits, inside
        hits += 1
        inside += bool(list((folder / "checkpoints").glob(".tmp-*")))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, kills: int) -> None:
    torch.set_num_threads(1)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    _train(whole)
    hits, inside = _kill_until_through(broken, kills, seed=kills)
    assert hits > 0
    print(f"{hits} kills, {inside} inside a save or a rotation")
    ends = [checkpoint.latest(folder / "checkpoints") for folder in (whole, broken)]
    assert all(end is not None and end.step == STEPS for end in ends)
    for name in ("trained", "optimizer", "random"):
        one, other = (end.tensors(name) for end in ends if end is not None)
        assert helpers.equal(one, other)
    losses = [[(event["step"], event["loss"]) for event in Run(folder).history] for folder in (whole, broken)]
    assert losses[0] == losses[1]
    assert not (broken / "checkpoints" / "quarantine").exists()
