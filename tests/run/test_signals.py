from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastft.core.errors import Preempted
from fastft.run.signals import Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_before_the_first_step_a_signal_stops_at_once(name: str) -> None:
    with pytest.raises(Preempted, match=f"{name} stopped the run before its first step") as stopped, Signals():  # noqa: PT012
        signal.raise_signal(getattr(signal, name))
        time.sleep(5)
    assert stopped.value.exit_code == 75


def test_a_stop_that_others_swallowed_is_not_forgotten() -> None:
    with pytest.raises(Preempted), Signals() as signals:  # noqa: PT012
        with contextlib.suppress(Exception):  # as a library may do
            signal.raise_signal(signal.SIGTERM)
        with signals.deferred():
            pytest.fail("training began")


def test_the_handlers_that_were_there_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with Signals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_a_thread_that_may_not_set_handlers_can_train_all_the_same() -> None:
    seen: list[str | None] = []

    def work() -> None:
        with Signals() as signals, signals.deferred():
            seen.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_second_signal_ends_the_process_as_the_system_would(name: str, code: int) -> None:
    program = """
import sys, time
from fastft.run.signals import Signals
with Signals() as signals, signals.deferred():
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
        if signals.received:
            print("first", flush=True)
            signals.received and time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        assert process.stdout.readline() == "first\n"
        process.send_signal(getattr(signal, name))
        assert process.wait(300) == code
        assert process.stderr.read() == f"{name} again: stopping now, without saving\n"


LAUNCHER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import run_helpers as helpers
from fastft.run import launch
from fastft.run.signals import Signals
launch.sys.executable = {stand_in!r}
config = helpers.config()
with Signals() as signals:
    launch.workers(config, Path("nowhere"), 2, "auto", signals, None, {{}})
"""
WORKER = """
import importlib, time
from fastft.run.worker import main
def road(*_):
    print("in", flush=True)
    time.sleep(600)
importlib.import_module("fastft.run.train").road = road
raise SystemExit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process that its parent is gone")
def test_workers_end_when_their_launcher_is_killed(tmp_path: Path) -> None:
    """Their output is this pipe: it ends when nobody is left who could write."""
    (tmp_path / "worker.py").write_text(WORKER)
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'worker.py'}\n")
    stand_in.chmod(0o755)
    code = LAUNCHER.format(tests=str(Path(__file__).parent), stand_in=str(stand_in))
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert launcher.stdout is not None
    assert [launcher.stdout.readline() for _ in range(2)] == ["in\n"] * 2
    launcher.kill()
    assert launcher.stdout.read() == ""
    launcher.communicate()


def test_a_worker_whose_launcher_is_gone_before_it_looks_does_not_begin() -> None:
    if sys.platform == "linux":
        code = "import os; from fastft.run.signals import follow; follow(os.getppid() + 1)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "the process that started this one is gone" in done.stderr
