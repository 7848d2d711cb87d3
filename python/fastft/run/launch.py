"""One process, several on this machine, or a cluster that a launcher such as torchrun set up.

`strategy.processes = N` starts N workers, one a GPU, after the data is prepared, and watches them: a signal goes
to all, and when one fails the others are ended and the failed rank is named. On Linux a worker stops, and saves, when
this process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core import env
from fastft.core.errors import ConfigError, FastftError, Preempted, Problem, ResourceError
from fastft.run.plan import Place

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig
    from fastft.run.signals import Signals

_GRACE_S = 30
"""How long workers may take to end after one of them failed."""


def place() -> Place:
    """This process among those that train together, from torchrun's variables."""
    return Place(env.rank(), env.world_size(), env.local_rank()) if env.launched() else Place()


def check_place(here: Place, out: Path | None) -> None:
    """Refuse a cluster whose processes can't agree on a folder.

    Raises:
        ConfigError: when several processes were started without `--out`.
    """
    if here.world > 1 and out is None:
        raise ConfigError(
            [
                Problem(
                    "run.cluster-without-folder",
                    None,
                    f"{here.world} processes were started without a common folder for the run",
                    hint="add `--out DIR`, on a disk that all of them see",
                )
            ]
        )


def wanted(config: RunConfig, here: Place) -> int:
    """How many workers this process is to start; 0 when it trains itself."""
    processes = config.strategy.processes
    return processes if processes > 1 and not env.launched() else 0


def workers(
    config: RunConfig,
    folder: Path,
    count: int,
    resume: str,
    signals: Signals,
    beside: Path | None,
    texts: Mapping[str, str],
) -> None:
    """Start workers for a run whose folder and data are ready, and wait for them.

    Args:
        config: the run.
        folder: its folder, which this process holds.
        count: how many.
        resume: the checkpoint to go on from, or `auto`.
        signals: what asks this process to stop is handed on.
        beside: the config file's folder.
        texts: files for the run's folder, by name.

    Raises:
        Preempted: a signal stopped the run; it is saved.
        FastftError: a worker failed; its own message is on stderr before.
    """
    job = json.dumps(
        {
            "config": config.model_dump(mode="json"),
            "out": str(folder),
            "resume": resume,
            "beside": None if beside is None else str(beside),
            "texts": dict(texts),
            "parent": os.getpid(),
        }
    )
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    running = []
    for rank in range(count):
        extra = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = subprocess.Popen(
            [sys.executable, "-m", "fastft.run.worker"],
            stdin=subprocess.PIPE,
            env=env.child(extra),
            text=True,
            # A group of its own: Ctrl-C reaches this process only, which hands it on once.
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(job)
        process.stdin.close()
        running.append(process)
    try:
        _watch(running, signals)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def _watch(running: Sequence[subprocess.Popen[str]], signals: Signals) -> None:
    told = False
    while any(process.poll() is None for process in running):
        if signals.received is not None and not told:
            told = True
            for process in running:
                process.send_signal(getattr(signal, signals.received))
        failed = [rank for rank, process in enumerate(running) if process.poll() not in (None, 0, Preempted.exit_code)]
        if failed:
            _end(running)
            break
        time.sleep(0.05)
    codes = [process.returncode for process in running]
    bad = [rank for rank, code in enumerate(codes) if code not in (0, Preempted.exit_code)]
    if bad:
        # The first cause is the rank that ended by itself; the others were ended, or lost their peer.
        rank = next((rank for rank in bad if codes[rank] > 1), bad[0])
        raise _failure(rank, codes[rank])
    if Preempted.exit_code in codes:
        raise Preempted(f"{signals.received or 'a signal'} stopped the run; it is saved")


def _end(running: Sequence[subprocess.Popen[str]]) -> None:
    """Give the others a moment to tell the same error themselves, then end them."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and any(process.poll() is None for process in running):
        time.sleep(0.05)
    for process in running:
        if process.poll() is None:
            process.kill()
    for process in running:
        process.wait(_GRACE_S)


def _failure(rank: int, code: int) -> FastftError:
    """The error class that the worker's exit code stands for."""
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    text = f"rank {rank} {how}; the others were stopped"
    for kind in FastftError.__subclasses__():
        if kind.exit_code == code and kind not in (ConfigError, Preempted):
            return kind(text)
    if code == ConfigError.exit_code:
        return ConfigError([Problem("run.worker", None, text)])
    return ResourceError(text, code="run.worker-lost")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
