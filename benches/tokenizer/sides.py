"""The engines' processes: where each engine's Python is, and how it is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from engines import ENGINES, OURS, REFERENCE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def folder() -> Path:
    """Where engines are installed, each in a virtual environment of its own."""
    base = os.environ.get("FASTFT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastft"
    return Path(base) / "engines"


def interpreter(engines: Path, name: str) -> str:
    """The Python that has an engine: its own environment's, else this one."""
    own = engines / name.replace(" ", "-") / "bin" / "python"
    return str(own) if own.is_file() else sys.executable


def install(engines: Path) -> None:
    """Make the environments of all engines but ours and the reference, which this Python has."""
    uv = shutil.which("uv")
    for name, engine in ENGINES.items():
        home = engines / name.replace(" ", "-")
        if name in (OURS, REFERENCE):
            continue
        subprocess.run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(home)], check=True)
        python = str(home / "bin" / "python")
        pip = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        wanted = [f"{engine.package}=={engine.pinned}", *engine.needs]
        if subprocess.run([*pip, "--quiet", "--only-binary", ":all:", *wanted], check=False).returncode:
            print(f"{name} is not installed", file=sys.stderr)


class Sides:
    """One process an engine, alive as long as this is open.

    Attributes:
        versions: the release of each engine; None where it is not installed.
    """

    def __init__(self, engines: Path, names: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment["PYTHONPATH"] = str(ROOT / "python")
        self._running = {
            name: subprocess.Popen(
                [interpreter(engines, name), str(HERE / "once.py"), name],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in names
        }
        self.versions: dict[str, str | None] = {name: self._answer(name)["version"] for name in names}

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._running.values():
            if process.stdin:
                process.stdin.close()
        for process in self._running.values():
            process.wait(timeout=300)

    def ask(self, name: str, tokenizer: Path, texts: Path | None, threads: int, cores: list[int]) -> dict[str, Any]:
        """Have one engine measured; see `once.py` for the answer."""
        request = {"tokenizer": str(tokenizer), "texts": texts and str(texts), "threads": threads, "cores": cores}
        pipe = self._running[name].stdin
        assert pipe
        pipe.write(json.dumps(request) + "\n")
        pipe.flush()
        return self._answer(name)

    def _answer(self, name: str) -> dict[str, Any]:
        pipe = self._running[name].stdout
        assert pipe
        line = pipe.readline()
        if not line:
            raise SystemExit(f"the process of {name} ended; see its message above")
        found: dict[str, Any] = json.loads(line)
        return found
