"""Two processes over gloo against one: the same losses and weights, ragged steps included."""

from __future__ import annotations

import json
import os
import socket
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import run_helpers as helpers
import torch

from fastft.core.errors import DivergedError, Preempted, ResourceError
from fastft.core.events import StepEnded
from fastft.run import checkpoint
from fastft.run.plan import Place

OPTIONS: dict[str, Any] = {"batch__micro": 1, "strategy__kind": "ddp", "steps": 7}


def _rank(rank: int, port: int, folder: Path, what: str, pipe: Any) -> None:
    """One rank; sends losses, weights and how it ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # gloo's chatter
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    run = helpers.config(**OPTIONS)
    changes: dict[str, Any] = {}
    if what == "diverge" and rank == 1:
        from test_loop import _Poisoned

        changes["objective"] = _Poisoned(3, "loss")
    if what == "full disk" and rank == 0:
        from test_checkpoint import Faulty

        changes["files"] = Faulty(2, 28)
    loop, heard = helpers.loop(run, folder, dropout=0.0, place=Place(rank, 2, rank), **changes)
    if what == "stop" and rank == 1:
        loop.signals.received = "SIGTERM"  # only one rank was told
    saved = checkpoint.latest(folder) if rank == 0 or what != "resume" else checkpoint.find(folder)[-1]
    if what == "resume":
        assert saved is not None
        loop.restore(saved)
    ending = "finished"
    try:
        loop.run()
    except (Preempted, DivergedError, ResourceError) as error:
        ending = f"{type(error).__name__}: {error.message}"
    loop.strategy.close()
    pipe.send(
        (
            ending,
            [event.loss for event in heard.of(StepEnded)],
            {n: w.numpy() for n, w in helpers.weights(loop).items()},
        )
    )


def _two(folder: Path, what: str) -> list[tuple[str, list[float], dict[str, Any]]]:
    context = get_context("fork")  # torch is imported already, which takes seconds
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    ranks = [context.Process(target=_rank, args=(rank, port, folder, what, pipes[rank][1])) for rank in range(2)]
    for process in ranks:
        process.start()
    answers = [receive.recv() if receive.poll(120) else None for receive, _ in pipes]
    for process in ranks:
        process.join(30)
        process.kill()
    assert all(answer is not None for answer in answers), "a rank did not answer"
    return answers


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """A child of a process with running OpenMP threads would wait for them for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _single(folder: Path, **changes: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    loop, heard = helpers.loop(
        helpers.config(**{**OPTIONS, "strategy__kind": "single", **changes}), folder, dropout=0.0
    )
    loop.run()
    return [event.loss for event in heard.of(StepEnded)], helpers.weights(loop)


pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    """The third step has 3 windows: rank 1 gets one of them, or none when a micro-batch holds two."""
    losses, weights = _single(tmp_path / "single")
    answers = _two(tmp_path / "two", "train")
    for ending, seen, own in answers:
        assert ending == "finished"
        assert seen == pytest.approx(losses, abs=1e-6)
        assert all(torch.allclose(torch.from_numpy(own[name]), weights[name], atol=1e-6) for name in weights)


def test_a_rank_without_a_micro_batch_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, "batch__micro", 2)
    monkeypatch.setitem(OPTIONS, "batch__windows", 5)  # 11 windows: the last step of an epoch has one
    losses, weights = _single(tmp_path / "single")
    for ending, seen, own in _two(tmp_path / "two", "train"):
        assert ending == "finished"
        assert seen == pytest.approx(losses, abs=1e-6)
        assert all(torch.allclose(torch.from_numpy(own[name]), weights[name], atol=1e-6) for name in weights)


def test_two_ranks_go_on_where_they_stopped(tmp_path: Path) -> None:
    stopped = _two(tmp_path, "stop")
    assert all(ending.startswith("Preempted") for ending, _, _ in stopped)
    assert [saved.step for saved in checkpoint.find(tmp_path)] == [1]
    manifest = json.loads((tmp_path / "step-00000001" / "MANIFEST.json").read_bytes())
    assert manifest["world"] == 2
    resumed = _two(tmp_path, "resume")
    losses, weights = _single(tmp_path / "single")
    for (_, first, _), (ending, rest, own) in zip(stopped, resumed, strict=True):
        assert ending == "finished"
        assert first + rest == pytest.approx(losses, abs=1e-6)
        assert all(torch.allclose(torch.from_numpy(own[name]), weights[name], atol=1e-6) for name in weights)


@pytest.mark.parametrize(("what", "kind"), [("diverge", "DivergedError"), ("full disk", "ResourceError")])
def test_what_ends_one_rank_ends_all(tmp_path: Path, what: str, kind: str) -> None:
    assert [ending.split(":")[0] for ending, _, _ in _two(tmp_path, what)] == [kind, kind]
