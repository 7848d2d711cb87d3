"""Everything that must hold, in order, with one summary at the end: lint, Rust, Python.

`python tests/all.py` runs all; `--only lint|rust|python` runs one part; what follows `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


@dataclass
class Part:
    """How one part of the tests went."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def run(command: list[str]) -> tuple[int, str]:
    """Run a command, show what it prints, and return its exit code and output."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines.append(line)
    return process.wait(), "".join(lines)


def lint() -> Part:
    """Run formatters in check mode, linters, types and the layering contracts."""
    started = time.monotonic()
    sources = [str(p) for pattern in ("*.cpp", "*.h", "*.cu", "*.cuh") for p in (ROOT / "csrc").rglob(pattern)]
    checks = [
        ["ruff", "check", "-q", "."],
        ["ruff", "format", "-q", "--check", "."],
        ["mypy"],
        ["lint-imports", "--no-cache"],
        ["cargo", "fmt", "--check"],
        ["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ["clang-format", "--dry-run", "--Werror", *sources],
    ]
    failed = 0
    for check in checks:
        code, _ = run(check)
        print(f"{'ok    ' if code == 0 else 'FAILED'} {' '.join(check[:3])}", flush=True)
        failed += code != 0
    return Part("lint", len(checks) - failed, failed, 0, time.monotonic() - started)


def rust() -> Part:
    """Run the tests of every crate but the binding, which pytest tests.

    Without `--release`: linking each of a dozen test programs with LTO takes longer than all the rest.
    """
    started = time.monotonic()
    code, output = run(["cargo", "test", "--quiet", "--workspace", "--exclude", "fastft-engine"])
    results = re.findall(r"(\d+) passed; (\d+) failed; (\d+) ignored", output)
    passed, failed, skipped = (sum(int(r[i]) for r in results) for i in range(3))
    return Part("rust", passed, failed or int(code != 0), skipped, time.monotonic() - started)


def python(arguments: list[str]) -> Part:
    """Run pytest."""
    started = time.monotonic()
    code, output = run([sys.executable, "-m", "pytest", "-q", "--durations=15", *arguments])
    tail = output[-2000:]

    def count(*words: str) -> int:
        return sum(
            int(n) for word in words for n in re.findall(rf"(\d+) {word}\b", tail.splitlines()[-1] if tail else "")
        )

    failed = count("failed", "error", "errors")
    return Part("python", count("passed"), failed or int(code != 0), count("skipped"), time.monotonic() - started)


def main() -> int:
    """Run the parts and print the summary; 0 when nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["lint", "rust", "python"])
    parser.add_argument("pytest", nargs="*")
    chosen = parser.parse_args()
    parts = []
    for name, part in (("lint", lint), ("rust", rust), ("python", lambda: python(chosen.pytest))):
        if chosen.only in (None, name):
            print(f"== {name}", flush=True)
            parts.append(part())
    width = min(shutil.get_terminal_size().columns, 60)
    print("=" * width)
    for part in parts:
        print(
            f"{part.name:<8}{part.passed:>6} passed {part.failed:>4} failed {part.skipped:>4} skipped {part.seconds:>7.0f} s"
        )
    passed, failed, skipped = (sum(getattr(p, k) for p in parts) for k in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
