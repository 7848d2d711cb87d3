"""No process group while data is prepared: ranks wait without one, as long as it takes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastft.core.paths import alone
from fastft.run.registry import Run

SLOW_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'].translate({}) }}{% for i in range(50000) %}{% endfor %}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""A method that only Python's strings have, so transformers renders each row, and a loop: milliseconds a row."""
TIMEOUT_S = 5.0
ROWS = 4_000


def _write(folder: Path, model: Path, count: int) -> Path:
    rows = ({"instruction": f"Say {n}", "output": f"one {n} two"} for n in range(count))
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "slow.jinja").write_text(SLOW_TEMPLATE)
    config = folder / "run.toml"
    config.write_text(
        f"""
steps = 2
device = "cpu"
[model]
path = "{model}"
[data]
train = [{{path = "{folder / "many.jsonl"}", format = {{kind = "alpaca"}}}}]
template = "{folder / "slow.jinja"}"
max_length = 64
threads = 1
[stage]
kind = "sft"
[method]
kind = "lora"
rank = 4
[optimizer]
kind = "adamw"
[batch]
windows = 2
[log]
tensorboard = false
[strategy]
kind = "ddp"
timeout = {TIMEOUT_S}
"""
    )
    return config


def _port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _rank(rank: int, port: int, config: Path, out: Path, cache: Path) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "FASTFT_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "fastft", "train", str(config), "--out", str(out)]
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_rank_that_prepares_longer_than_the_timeout_is_waited_for(tmp_path: Path, tiny: Path) -> None:
    """Two machines: rank 1 finds its data ready, rank 0 needs several times the group's timeout to prepare them."""
    config = _write(tmp_path, tiny, ROWS)
    caches = [tmp_path / "cache-0", tmp_path / "cache-1"]
    warm = {**os.environ, "FASTFT_CACHE": str(caches[1])}
    words = [sys.executable, "-m", "fastft", "data", "prepare", str(config)]
    subprocess.run(words, env=warm, check=True, capture_output=True)
    port, out = _port(), tmp_path / "run"
    ranks = [_rank(rank, port, config, out, caches[rank]) for rank in range(2)]
    answers = [process.communicate(timeout=540) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(err for _, err in answers)
    record = Run(out).record
    assert record["status"] == "finished"
    assert record["plan"]["timeout_s"] == TIMEOUT_S
    assert record["data"]["seconds"] > TIMEOUT_S, "the preparation was too fast to prove anything"
    assert "data.template-in-python" in answers[0][1]


@pytest.mark.slow
def test_a_rank_that_waits_heeds_a_signal(tmp_path: Path, tiny: Path) -> None:
    """This process stands in for rank 0, which never comes: it holds the store and sees the other one arrive."""
    from torch.distributed import PrefixStore, TCPStore

    config, port = _write(tmp_path, tiny, 20), _port()
    held = TCPStore("127.0.0.1", port, 2, True, wait_for_workers=False, multi_tenant=True)
    waiting = _rank(1, port, config, tmp_path / "run", tmp_path / "cache")
    while not PrefixStore("fastft/0", held).add("data", 0):
        assert waiting.poll() is None, waiting.communicate()[1]
        time.sleep(0.1)
    waiting.send_signal(signal.SIGTERM)
    _, err = waiting.communicate()
    assert waiting.returncode == 75, err


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys, time; from fastft.core.paths import alone\n"
        "with alone(sys.argv[1]): print('in', flush=True); time.sleep(600)"
    )
    lock = tmp_path / "locks" / "data"
    other = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"

    def interrupt(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(TimeoutError), alone(lock):
            pass
    finally:
        signal.signal(signal.SIGALRM, before)
    assert other.poll() is None, "the signal ended the wait, not the other process"
    other.kill()
    other.communicate()
    with alone(lock):
        pass
