"""Near duplicates, raw text to clusters: fastft against pipelines of datasketch and rensa.

All sides see the same texts in one process run each, in turn, with one thread; what is compared is CPU seconds from
the texts in memory to the rows that are duplicates: lower-cased word 5-grams, 112 hashes, 14 bands of 8, clusters
joined. What they find is compared with the Jaccard similarity of all pairs that share a 5-gram.

    python benches/data/dedup.py [--data FILE.jsonl] [--rounds N] [--out benches/results/dedup.json]

Without `--data` the texts are the samples below $FASTFT_SHARED, with seeded near duplicates. The other side needs
`pip install datasketch rensa`; sides that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benches/
from keeping import keep

ROOT = Path(__file__).resolve().parents[2]
BANDS, ROWS, SHINGLE = 14, 8, 5
WORD = re.compile(r"[^\W_]+")


def shingles(text: str) -> set[str]:
    words = WORD.findall(text.lower())
    return {" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}


def clusters(pairs: Iterable[tuple[int, int]], rows: int) -> list[int]:
    """The first row of each row's cluster."""
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, other in pairs:
        one, other = root(one), root(other)
        parent[max(one, other)] = min(one, other)
    return [root(row) for row in range(rows)]


def run_datasketch(texts: list[str]) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    pairs = []
    for row, text in enumerate(texts):
        signature = MinHash(num_perm=BANDS * ROWS, seed=1)
        signature.update_batch([shingle.encode() for shingle in shingles(text)])
        pairs += [(row, other) for other in lsh.query(signature)]
        lsh.insert(row, signature, check_duplication=False)
    return clusters(pairs, len(texts))


def run_rensa(texts: list[str]) -> list[int]:
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=0.7, num_perm=BANDS * ROWS, num_bands=BANDS)
    pairs = []
    for row, text in enumerate(texts):
        signature = RMinHash(num_perm=BANDS * ROWS, seed=1)
        signature.update(list(shingles(text)))
        pairs += [(row, other) for other in lsh.query(signature)]
        lsh.insert(row, signature)
    return clusters(pairs, len(texts))


def measure_python(side: str, file: Path) -> dict[str, Any]:
    texts = [json.loads(line)["text"] for line in file.read_text("utf-8").splitlines()]
    run: Callable[[list[str]], list[int]] = {"datasketch": run_datasketch, "rensa": run_rensa}[side]
    run(texts[:5])  # imports
    start = time.process_time()
    found = run(texts)
    return {"cpu_seconds": time.process_time() - start, "roots": found}


def measure(side: str, file: Path) -> dict[str, Any]:
    if side != "fastft":
        command = [sys.executable, __file__, "--side", side, "--data", str(file)]
    else:
        command = [*f"cargo run -q --release -p fastft-clean --example dedup -- {file}".split(), "near"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    if side == "fastft":
        rows = result["rows"]
        result["roots"] = clusters(((row, of) for row, of, _ in result["duplicates"]), rows)
    return result


def samples(shared: Path, seed: int = 7) -> list[str]:
    """Real texts of some hundred words, each third with a near duplicate of a known kind."""
    demo = shared / "data" / "llamafactory_demo"
    texts = [json.loads(line)["text"] for line in (demo / "c4_demo.jsonl").read_text("utf-8").splitlines()]
    wiki = (demo / "wiki_demo.txt").read_text("utf-8").split("\n")
    texts += [text for text in wiki if len(text) > 600]
    novel = (shared / "data" / "text" / "botchan.txt").read_text("utf-8").split("\n\n")
    texts += ["\n\n".join(novel[at : at + 8]) for at in range(0, len(novel), 8)]
    draw = random.Random(seed)
    out = list(texts)
    for text in texts:
        if draw.random() < 0.3:
            words = text.split(" ")
            for _ in range(int(len(words) * draw.choice([0.0, 0.005, 0.01, 0.02, 0.04, 0.1]))):
                words[draw.randrange(len(words))] = draw.choice(["also", "now", "42", "very"])
            out.append(" ".join(words))
    draw.shuffle(out)
    return out


def agreement(texts: list[str], roots: list[int]) -> dict[str, float]:
    """Against brute force: which pairs above 0.85 are in one cluster, and which duplicates have a twin above 0.5."""
    sets = [shingles(text) for text in texts]
    index: dict[str, list[int]] = defaultdict(list)
    best = [0.0] * len(texts)
    alike = found = 0
    for row, own in enumerate(sets):
        shared: dict[int, int] = defaultdict(int)
        for shingle in own:
            for other in index[shingle]:
                shared[other] += 1
            index[shingle].append(row)
        for other, common in shared.items():
            similarity = common / (len(own) + len(sets[other]) - common)
            best[row] = max(best[row], similarity)
            if similarity >= 0.85:
                alike += 1
                found += roots[row] == roots[other]
    duplicates = [row for row, root in enumerate(roots) if root != row]
    true = sum(best[row] >= 0.5 for row in duplicates)
    return {
        "pairs_above_0.85": alike,
        "recall": found / max(alike, 1),
        "duplicates": len(duplicates),
        "precision": true / max(len(duplicates), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure_python(options.side, options.data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = options.data
        if file is None:
            shared = os.environ.get("FASTFT_SHARED")
            if shared is None:
                parser.error("name --data, or set FASTFT_SHARED")
            file = Path(folder) / "texts.jsonl"
            lines = [json.dumps({"text": text}, ensure_ascii=False) for text in samples(Path(shared))]
            file.write_text("\n".join(lines) + "\n", "utf-8")
        texts = [json.loads(line)["text"] for line in file.read_text("utf-8").splitlines()]
        sides = ["fastft", *(name for name in ("datasketch", "rensa") if importlib.util.find_spec(name))]
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        last: dict[str, dict[str, Any]] = {}
        for _ in range(options.rounds):
            for side in sides:
                last[side] = measure(side, file)
                seconds[side].append(last[side]["cpu_seconds"])
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    report: dict[str, Any] = {
        "what": "near duplicates, texts in memory to clusters, one thread, CPU seconds",
        "rows": len(texts),
        "megabytes": megabytes,
        "sides": {},
        "ratios": {},
    }
    for side in sides:
        report["sides"][side] = {
            "version": "this commit" if side == "fastft" else version(side),
            "cpu_seconds": seconds[side],
            "megabytes_per_second": megabytes / statistics.median(seconds[side]),
            **agreement(texts, last[side]["roots"]),
        }
        if side != "fastft":
            ratios = [theirs / ours for theirs, ours in zip(seconds[side], seconds["fastft"], strict=True)]
            report["ratios"][side] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    print(json.dumps(keep("dedup", report, target=options.out), indent=2))


if __name__ == "__main__":
    main()
