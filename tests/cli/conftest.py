"""The command line as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Answer:
    """What a command said and what it cost (CPU seconds of the process)."""

    code: int
    out: str
    err: str
    cpu: float


class Command:
    """Runs `fastft` in a folder, without a terminal, byte code kept between runs as when it is installed."""

    def __init__(self, folder: Path, bytecode: Path) -> None:
        self.folder = folder
        self.bytecode = bytecode

    def __call__(self, *words: str, env: dict[str, str] | None = None) -> Answer:
        return self.python("-m", "fastft", *words, env=env)

    def python(self, *words: str, env: dict[str, str] | None = None) -> Answer:
        """Run Python with these words."""
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "NO_COLOR", "FORCE_COLOR")}
        kept |= {"PYTHONPYCACHEPREFIX": str(self.bytecode), "OMP_NUM_THREADS": "1", **(env or {})}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=kept,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Answer(done.returncode, done.stdout, done.stderr, cpu)

    def modules(self, *words: str) -> set[str]:
        """The top-level packages that are loaded when a command is done."""
        code = (
            "import sys, json; from fastft.cli.main import run; run(sys.argv[1:]); "
            "print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
        )
        loaded: list[Any] = json.loads(self.python("-c", code, *words).out.strip().split("\n")[-1])
        return set(loaded)


@pytest.fixture(scope="session")
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def fastft(tmp_path: Path, _bytecode: Path) -> Command:
    """`fastft(*words)` in an empty folder that has a small config and its data."""
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    (tmp_path / "run.toml").write_text(
        '[model]\npath = "owner/name"\n[[data.train]]\npath = "rows.jsonl"\n'
        '[stage]\nkind = "sft"\n[method]\nkind = "lora"\n[optimizer]\nkind = "adamw"\n'
    )
    return Command(tmp_path, _bytecode)
