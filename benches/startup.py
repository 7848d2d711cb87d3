"""What starting costs: CPU seconds of whole processes, byte code warm, each command in turn.

    python benches/startup.py [--json] [--repeat N]

The other side of each ratio is the interpreter itself with what the command can't do without:
`python -c pass` for `--version` and `--help`, `import pydantic` for configs. Budgets are the
project's promises; the script ends with 1 when one is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from keeping import keep

ROOT = Path(__file__).resolve().parent.parent
MISTAKES = ROOT / "tests" / "attacks" / "six-mistakes.toml"
CASES: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": (["-c", "pass"], None),
    "import pydantic": (["-c", "from pydantic import BaseModel"], None),
    "fastft --version": (["-m", "fastft", "--version"], 0.15),
    "fastft --help": (["-m", "fastft", "--help"], 0.15),
    "config check, six mistakes": (["-m", "fastft", "config", "check", str(MISTAKES)], 0.4),
    "config explain --all": (["-m", "fastft", "config", "explain", "--all"], None),
    "import fastft": (["-c", "import fastft"], None),
}


def cpu_seconds(words: list[str], environment: dict[str, str]) -> float:
    """User and system time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=environment, cwd=MISTAKES.parent, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--repeat", type=int, default=9, help="runs of each command (default 9)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": bytecode, "OMP_NUM_THREADS": "1"}
        times: dict[str, list[float]] = {name: [] for name in CASES}
        for words, _ in CASES.values():
            cpu_seconds(words, environment)  # compiles
        for _ in range(options.repeat):
            for name, (words, _) in CASES.items():
                times[name].append(cpu_seconds(words, environment))
    rows = [
        {
            "command": name,
            "median_cpu_s": round(statistics.median(times[name]), 4),
            "min_cpu_s": round(min(times[name]), 4),
            "max_cpu_s": round(max(times[name]), 4),
            "budget_cpu_s": budget,
            "kept": None if budget is None else statistics.median(times[name]) < budget,
        }
        for name, (_, budget) in CASES.items()
    ]
    result = keep("startup", {"repeat": options.repeat, "rows": rows})
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'CPU seconds':<30}{'median':>8}{'min':>8}{'max':>8}{'budget':>9}")
        for row in rows:
            budget = "" if row["budget_cpu_s"] is None else f"< {row['budget_cpu_s']}"
            print(
                f"{row['command']:<30}{row['median_cpu_s']:>8.3f}{row['min_cpu_s']:>8.3f}{row['max_cpu_s']:>8.3f}"
                f"{budget:>9}{'' if row['kept'] in (None, True) else '  broken'}"
            )
    return int(any(row["kept"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
