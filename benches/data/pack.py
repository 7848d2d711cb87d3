"""The pack plan: fastft's best fit against TRL's `pack_dataset(strategy="bfd")`, in one process, in turn.

Both get the same lengths and pack them over the whole (TRL with one batch of all rows: by default it packs each 1,000
by themselves). fastft plans: which documents share a window, in which order; tokens stay where they are. TRL's function
also moves the tokens, which it can't do otherwise; a row of its input is one token repeated, two bytes each. What is
compared is CPU seconds (user + system) of the calls, and how full windows are.

    python benches/data/pack.py [--documents N] [--large N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benches/
from keeping import keep

ROOT = Path(__file__).resolve().parents[2]
CAPACITY = 2048


def lengths(count: int) -> Any:
    """A product of three uniform numbers: most are short, some fill a window."""
    import numpy as np

    draw = np.random.default_rng(0).random((3, count))
    return (1 + draw.prod(axis=0) * (CAPACITY - 1)).astype(np.uint32)


def timed(call: Callable[[], int]) -> tuple[float, int]:
    before = time.process_time()
    windows = call()
    return time.process_time() - before, windows


def fastft_side(sizes: Any) -> Callable[[], int]:
    import numpy as np

    from fastft import _engine

    order = np.empty(len(sizes), np.uint32)
    return lambda: int(_engine.pack_lengths(sizes, CAPACITY, order))


def trl_side(sizes: Any) -> Callable[[], int]:
    import datasets
    import numpy as np
    import pyarrow as pa
    from trl import pack_dataset

    datasets.disable_progress_bars()
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    column = pa.LargeListArray.from_arrays(offsets, pa.array(np.zeros(offsets[-1], np.uint16)))
    rows = datasets.Dataset(pa.table({"input_ids": column}))
    options = {"batch_size": len(rows), "keep_in_memory": True, "load_from_cache_file": False}
    return lambda: len(pack_dataset(rows, CAPACITY, "bfd", options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="that both sides pack")
    parser.add_argument("--large", type=int, default=10_000_000, help="that fastft alone packs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the JSON that is written to benches/results")
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "python"))
    import trl

    sizes = lengths(chosen.documents)
    sides = {"fastft": fastft_side(sizes), "trl": trl_side(sizes)}
    runs: dict[str, list[tuple[float, int]]] = {side: [] for side in sides}
    for _ in range(chosen.rounds):
        for side, call in sides.items():
            runs[side].append(timed(call))
    tokens = float(sizes.sum())
    ratios = [theirs[0] / ours[0] for ours, theirs in zip(runs["fastft"], runs["trl"], strict=True)]
    many = lengths(chosen.large)
    large = [timed(fastft_side(many)) for _ in range(chosen.rounds)]
    figures = {
        "documents": chosen.documents,
        "capacity": CAPACITY,
        "sides": {
            side: {
                "cpu_seconds": statistics.median(seconds for seconds, _ in each),
                "documents_per_cpu_second": chosen.documents / statistics.median(seconds for seconds, _ in each),
                "windows": each[0][1],
                "fill": tokens / (each[0][1] * CAPACITY),
            }
            for side, each in runs.items()
        },
        "cpu_time_ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "large": {
            "documents": chosen.large,
            "documents_per_cpu_second": chosen.large / statistics.median(seconds for seconds, _ in large),
            "fill": float(many.sum()) / (large[0][1] * CAPACITY),
        },
        "trl": trl.__version__,
        "rounds": chosen.rounds,
    }
    found = keep("pack", figures)
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for side, figures in found["sides"].items():
        print(
            f"  {side:<8}{figures['documents_per_cpu_second']:14,.0f} documents/CPU-s, "
            f"{figures['windows']:,} windows, {figures['fill']:.3%} full"
        )
    print(f"  fastft is {found['cpu_time_ratio']['median']:.0f} x as fast ({min(ratios):.0f}-{max(ratios):.0f})")
    print(f"  {chosen.large:,} documents: {found['large']['documents_per_cpu_second']:,.0f} documents/CPU-s")


if __name__ == "__main__":
    main()
