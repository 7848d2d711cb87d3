"""What each benchmark keeps of its figures: one JSON file in `results`, with the code and the machine they belong to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def about() -> dict[str, Any]:
    """The commit (`-dirty` when files differ from it) and the machine, with its load of now."""
    described = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    commit = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "commit": commit or "unknown",
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def keep(bench: str, figures: dict[str, Any], *, target: Path | None = None) -> dict[str, Any]:
    """Write `results/<bench>.json`, or `target`; what was written comes back."""
    result = {"bench": bench, **figures, "about": about()}
    target = target or ROOT / "benches" / "results" / f"{bench}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result
