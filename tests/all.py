"""Everything that must hold, in order, with one summary at the end: lint, Rust, fuzz targets, Python.

`python tests/all.py` runs all; `--only lint|rust|fuzz|python` runs one part; `--fuzz-seconds` is the time of each fuzz
target, `--fuzz-seed 0` has each run try other inputs; what follows `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

DICTIONARIES = {"template": "template", "split": "text", "encode": "text"}
"""Words that a fuzz target's input is made of, where it is not rows."""


@dataclass
class Part:
    """How one part of the tests went."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def run(command: list[str], **variables: str) -> tuple[int, str]:
    """Run a command, show what it prints, and return its exit code and output."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", **variables}
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
        ["cargo", "fmt", "--check", "--manifest-path", "rust/fuzz/Cargo.toml"],
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


def fuzz(seconds: int, seed: int) -> Part:
    """Build the fuzz targets and run each for a while, as many at once as there are cores.

    Libraries are shared with the tests of the crates. What a run finds is kept in the build folder, so that the next run
    goes on from it.
    """
    started = time.monotonic()
    folder = ROOT / "rust" / "fuzz"
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    targets = sorted(path.stem for path in (folder / "fuzz_targets").glob("*.rs"))
    manifest = str(folder / "Cargo.toml")
    build = ["cargo", "build", "--quiet", "--bins", "--manifest-path", manifest, "--target-dir", str(built)]
    # cargo reads the wrapper from `.cargo/config.toml` only in that folder
    if run(build, RUSTC_WRAPPER=str(folder / "rustc.sh"))[0]:
        return Part("fuzz", 0, len(targets), 0, time.monotonic() - started)
    crashes = built / "fuzz" / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)

    def passes(target: str) -> bool:
        found, seeds = built / "fuzz" / target, folder / "corpus" / target
        shutil.unpack_archive(f"{seeds}.tar.gz", found, filter="data")
        options = {
            "max_total_time": seconds,
            "seed": seed,
            "max_len": 4096,
            "timeout": 20,
            "rss_limit_mb": 2048,
            "verbosity": 0,
            "print_final_stats": 1,
            "dict": folder / "dictionaries" / f"{DICTIONARIES.get(target, 'rows')}.txt",
            "artifact_prefix": f"{crashes}/{target}-",
        }
        flags = [f"-{name}={value}" for name, value in options.items()]
        binary = str(built / "debug" / target)
        ran = subprocess.run([binary, *flags, found, seeds], cwd=ROOT, capture_output=True, text=True, errors="replace")
        executions = re.search(r"number_of_executed_units: (\d+)", ran.stderr)
        print(
            f"{'FAILED' if ran.returncode else 'ok    '} {target}: {executions[1] if executions else 'no'} runs",
            flush=True,
        )
        if ran.returncode:
            written = re.search(r"Test unit written to (\S+)", ran.stderr)
            print(f"{ran.stderr}again: {binary} {written[1] if written else f'{found} {seeds}'}", flush=True)
        return ran.returncode == 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = sum(pool.map(passes, targets))
    return Part("fuzz", passed, len(targets) - passed, 0, time.monotonic() - started)


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
    parser.add_argument("--only", choices=["lint", "rust", "fuzz", "python"])
    parser.add_argument("--fuzz-seconds", type=int, default=20, metavar="N")
    parser.add_argument("--fuzz-seed", type=int, default=1, metavar="N")
    parser.add_argument("pytest", nargs="*")
    chosen = parser.parse_args()
    parts = []
    every: dict[str, Callable[[], Part]] = {
        "lint": lint,
        "rust": rust,
        "fuzz": lambda: fuzz(chosen.fuzz_seconds, chosen.fuzz_seed),
        "python": lambda: python(chosen.pytest),
    }
    for name, test in every.items():
        if chosen.only in (None, name):
            print(f"== {name}", flush=True)
            parts.append(test())
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
