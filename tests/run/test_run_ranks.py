"""Two real ranks train on a stream, over gloo: each makes a part of the tokens, and they learn what one learns."""

from __future__ import annotations

import json
import os
import signal
import socket
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import test_train

from fastft.core.events import Bus, Event, StepEnded, Warned
from fastft.run import load_run, train

pytest.importorskip("fastft._engine", reason="the data engine is not built")

STREAM: dict[str, Any] = {
    "data__streaming": True,
    "data__lanes": 2,
    "method__dropout": 0.0,  # its noise is another one on each rank
    "data__max_length": 256,
    "optimizer__lr": 1e-4,  # so that what floats round otherwise stays small
    "checkpoint__every": 5,
    "steps": None,
    "epochs": 1.25,
}


class KillAt:
    """A sink that ends this process without a word at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if isinstance(event, StepEnded) and event.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None: ...


def _rank(rank: int, port: int, words: tuple[Path, Path, dict[str, Any]], out: Path, kill: int, pipe: Any) -> None:
    """One rank; sends how many tokens it made."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # gloo's chatter
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    from fastft import data

    opened: list[Any] = []
    real = data.open_stream

    def keep(*args: Any, **options: Any) -> Any:
        opened.append(real(*args, **options))
        return opened[-1]

    data.open_stream = keep
    tiny, rows, changes = words
    train(test_train.config(tiny, rows, **changes), out=out, bus=Bus([KillAt(kill)]))
    (streamed,) = opened
    pipe.send(streamed.stream.books()["total"]["tokens"])


def _two(tiny: Path, rows: Path, out: Path, kill: int = -1, **changes: Any) -> list[int | None]:
    """Tokens that each of two ranks made; None of those that were killed."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "peft", "fastft.run.train"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    words = (tiny, rows, changes)
    ranks = [context.Process(target=_rank, args=(rank, port, words, out, kill, pipes[rank][1])) for rank in range(2)]
    for process in ranks:
        process.start()
    for _, send in pipes:
        send.close()
    answers: list[int | None] = []
    for receive, _ in pipes:
        try:
            answers.append(receive.recv() if receive.poll(120) else None)
        except EOFError:
            answers.append(None)
    for process in ranks:
        process.join(60)
        process.kill()
    return answers


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for 2 lanes, two of them broken."""
    path = tmp_path_factory.mktemp("ranks") / "many.jsonl"
    rows = [json.dumps({"instruction": f"Say red {n} " * (n % 24 + 1), "output": f"red {n}"}) for n in range(260)]
    rows[4] = rows[200] = "{"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def whole(tiny: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("whole")
    train(test_train.config(tiny, many, **STREAM), out=out / "run", bus=Bus())
    return out / "run"


def _losses(folder: Path) -> list[float]:
    return [event["loss"] for event in load_run(folder).history]


def _tokens(folder: Path) -> list[int]:
    return [event["tokens"] for event in load_run(folder).history]


def test_two_ranks_make_the_tokens_once_and_learn_what_one_learns(
    tiny: Path, many: Path, whole: Path, tmp_path: Path
) -> None:
    made = _two(tiny, many, tmp_path / "run", **STREAM)
    assert _losses(tmp_path / "run") == pytest.approx(_losses(whole), abs=1e-4)
    assert _tokens(tmp_path / "run") == _tokens(whole)
    # rows enter the books when they are read for the first time
    history = load_run(whole).history
    used = sum(event["tokens"] for event in history if event["epoch"] <= 1)
    assert sum(count or 0 for count in made) == used
    assert max(count or 0 for count in made) < 0.6 * used
    listed = (tmp_path / "run" / "data" / "rejected.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["line"] for line in listed) == [5, 201]


def test_killed_ranks_go_on_and_one_goes_on_for_two(tiny: Path, many: Path, whole: Path, tmp_path: Path) -> None:
    steps = len(_losses(whole))
    out, changes = tmp_path / "run", STREAM | {"strategy__timeout": 20}
    assert _two(tiny, many, out, kill=steps // 3, **changes)[0] is None
    assert _two(tiny, many, out, kill=steps * 3 // 4, **changes)[0] is None
    train(test_train.config(tiny, many, **changes), out=out, bus=Bus())
    assert _losses(out) == pytest.approx(_losses(whole), abs=1e-4)
    assert _tokens(out) == _tokens(whole)
    assert test_train.same(test_train.final(out), test_train.final(whole), atol=1e-4)


def test_ranks_that_do_not_divide_the_lanes_are_told(tiny: Path, many: Path, tmp_path: Path) -> None:
    """Three ranks and two lanes have nothing in common, so that each would make all."""
    from fastft.run.plan import Place
    from fastft.run.train import Job, _batches, _plan, _prepare

    class Heard:
        events: list[Warned] = []  # noqa: RUF012

        def emit(self, event: Event) -> None:
            if isinstance(event, Warned):
                self.events.append(event)

        def close(self) -> None: ...

    for world, told in ((3, True), (2, False)):
        Heard.events = []
        job = Job(test_train.config(tiny, many, **STREAM), Bus([Heard()]), Place(0, world), None)
        plan = _plan(job)
        _batches(job, plan, _prepare(job, None), tmp_path)
        assert [event.code for event in Heard.events].count("data.lanes") == told
        if told:
            (event,) = [event for event in Heard.events if event.code == "data.lanes"]
            assert "`data.lanes = 3`" in (event.hint or "")
