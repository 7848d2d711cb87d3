"""Preparing much data: memory, disk, evenness, and how long until the first batch.

A corpus of documents is prepared with `fastft.data.prepare` in a process of its own, which notes how far it is and how
much memory it holds. Then the same again (nothing is to be made), the first batch from the cache, and the first batch of
a stream, each in a new process; imports and reading the tokenizer are not counted. A second, smaller corpus, in which
one row of a hundred is a hundred times as long, shows whether few long rows hold the others up.

    python benches/data/scale.py [--corpus 'FOLDER/*.jsonl'] [--megabytes N] [--threads N] [--model M] [--json]

Without --corpus, N megabytes are made of the quickstart's texts, no two documents alike.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benches/
from keeping import keep

ROOT = Path(__file__).resolve().parents[2]
MAX_LENGTH = 2048


def texts() -> list[str]:
    """Questions and answers of the quickstart's files."""
    found = []
    for file in sorted((ROOT / "configs" / "data").glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            parts = [m["content"] for m in row.get("messages", ())] or [row["instruction"], row["output"]]
            found += [part for part in parts if len(part) > 20]
    return found


def documents(words: int, long_every: int = 0) -> Iterator[str]:
    """Documents of about `words` words, no two alike; each `long_every`-th is a hundred times as long."""
    pieces, chance, number = texts(), random.Random(1), 0
    while True:
        number += 1
        wanted = words * (100 if long_every and number % long_every == 0 else 1)
        lines, count = [f"Document {number}."], 0
        while count < wanted:
            lines.append(chance.choice(pieces))
            count += len(lines[-1].split())
        yield "\n".join(lines)


def write_corpus(path: Path, size: int, words: int, long_every: int = 0) -> None:
    """JSONL of `size` bytes."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for text in documents(words, long_every):
            written += file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            if written >= size:
                return


def resident() -> dict[str, int]:
    """Bytes of memory that this process holds, by kind."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "RssFile")}


class Memory:
    """Notes the memory of this process ten times a second."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.1):
            self.samples.append((time.monotonic(), resident()["VmRSS"]))


def configured(chosen: argparse.Namespace) -> dict[str, Any]:
    """What all children call."""
    from fastft.config.kinds import STAGES
    from fastft.config.schema import DataConfig, ModelConfig
    from fastft.models import tokenizer_files

    stage = STAGES.get("pretrain")
    assert stage is not None
    source = {"path": chosen.corpus, "format": {"kind": "text", "column": "text"}}
    options = {"max_length": MAX_LENGTH, "truncate": "split", "threads": chosen.threads}
    streaming = {"streaming": True} if chosen.side == "stream" else {}
    return {
        "data": DataConfig.model_validate({"train": [source], **options, **streaming}),
        "stage": stage(),
        "tokenizer": tokenizer_files(ModelConfig(path=chosen.model)),
        "seed": 1,
        "cache": chosen.work,
    }


def run_prepare(chosen: argparse.Namespace) -> dict[str, Any]:
    """Prepare; what it took, and how throughput and memory went on the way."""
    from fastft.core.events import Bus, DataProgress, Event
    from fastft.data import prepare

    seen: list[tuple[float, int]] = []

    class Notes:
        def emit(self, event: Event) -> None:
            if isinstance(event, DataProgress):
                seen.append((event.seconds, event.bytes_read))

        def close(self) -> None:
            pass

    call = configured(chosen)
    base, begin, cpu = resident()["VmRSS"], time.monotonic(), time.process_time()
    with Memory() as memory:
        prepared = prepare(bus=Bus([Notes()]), **call)
    seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
    total = prepared.books["total"]
    size = sum(source["bytes"] for source in prepared.sources)
    parts = sum(file.stat().st_size for file in Path(prepared.train.folder).glob("*.arrow"))
    return {
        "megabytes": size / 1e6,
        "rows": total["read"],
        "tokens": total["tokens"],
        "seconds": seconds,
        "cpu_seconds": cpu,
        "megabytes_per_cpu_second": size / 1e6 / cpu,
        "disk_bytes_per_token": parts / max(1, total["tokens"]),
        "bits_of_an_id": prepared.train.manifest["id_bits"],
        "memory": {
            "before_megabytes": base / 1e6,
            "peak_megabytes": max((value for _, value in memory.samples), default=base) / 1e6,
            "peak_of_each_fifth_megabytes": fifths(memory.samples),
        },
        "throughput_of_each_tenth": tenths(seen, size),
        "cached": prepared.cached,
    }


def fifths(samples: list[tuple[float, int]]) -> list[float]:
    """Highest memory in each fifth of the time."""
    count = len(samples)
    cuts = [samples[count * part // 5 : count * (part + 1) // 5] for part in range(5)]
    return [round(max(value for _, value in cut) / 1e6, 1) for cut in cuts if cut]


def tenths(seen: list[tuple[float, int]], size: int) -> list[float]:
    """MB/s over each tenth of the bytes, between the moments that were noted."""
    moments = []
    points = [(0.0, 0), *seen]
    for part in range(1, 11):
        goal = size * part / 10
        for (before, low), (after, high) in itertools.pairwise(points):
            if low < goal <= high:
                moments.append(before + (after - before) * (goal - low) / (high - low))
                break
    spans = [after - before for before, after in zip([0.0, *moments], moments, strict=False)]
    return [round(size / 10 / 1e6 / span, 2) for span in spans if span > 0]


def run_first(chosen: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the call until the first batch is there, from what was prepared before."""
    import torch  # noqa: F401  batches are tensors; imports are not what is measured

    from fastft.core.events import Bus
    from fastft.data import Batches, prepare

    call = configured(chosen)
    begin = time.monotonic()
    prepared = prepare(bus=Bus(), **call)
    ready = time.monotonic() - begin
    feed = Batches(prepared.train, max_length=MAX_LENGTH, packing="best-fit", windows_per_step=8, micro=1, seed=1)
    assert feed.next_step()[0].input_ids.numel()
    return {"seconds": time.monotonic() - begin, "store_seconds": ready, "cached": prepared.cached}


def run_stream(chosen: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the call until the first batch of a stream is there; nothing was read before."""
    import torch  # noqa: F401

    from fastft.core.events import Bus
    from fastft.data import Ledger, StreamBatches, open_stream

    call = configured(chosen)
    call["config_dir"] = None
    begin = time.monotonic()
    opened = open_stream(call.pop("data"), call.pop("stage"), call.pop("tokenizer"), bus=Bus(), **call)
    feed = StreamBatches(opened.stream, windows_per_step=8, micro=1, ledger=Ledger(None, 1.0, Bus()))
    assert feed.next_step()[0].input_ids.numel()
    return {"seconds": time.monotonic() - begin}


def run_tokenizer(chosen: argparse.Namespace) -> dict[str, Any]:
    """Write the tokenizer's files; transformers is imported for it, once for each tokenizer, and takes 0.7 GB."""
    configured(chosen)
    return {}


SIDES = {"tokenizer": run_tokenizer, "prepare": run_prepare, "first": run_first, "stream": run_stream}


def child(side: str, chosen: argparse.Namespace, corpus: str, work: Path) -> dict[str, Any]:
    """Run one side in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--side", side, "--work", str(work), "--corpus", corpus]
    command += ["--model", chosen.model, "--threads", str(chosen.threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    corpus = chosen.corpus
    if corpus is None:
        write_corpus(folder / "even.jsonl", chosen.megabytes * 1_000_000, 400)
        corpus = str(folder / "even.jsonl")
    store = folder / "store"
    child("tokenizer", chosen, corpus, store)
    found: dict[str, Any] = {"prepare": child("prepare", chosen, corpus, store)}
    found["again"] = child("prepare", chosen, corpus, store)
    assert found["again"]["cached"]
    found["first_batch"] = {
        "cached": [child("first", chosen, corpus, store)["seconds"] for _ in range(3)],
        "streaming": [child("stream", chosen, corpus, folder / "none")["seconds"] for _ in range(3)],
    }
    size = min(chosen.megabytes, 200) * 1_000_000
    write_corpus(folder / "uneven.jsonl", size, 100, long_every=100)
    rates = child("prepare", chosen, str(folder / "uneven.jsonl"), folder / "uneven")["throughput_of_each_tenth"]
    found["uneven"] = {"throughput_of_each_tenth": rates, "last_to_median": rates[-1] / sorted(rates)[len(rates) // 2]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", help="JSONL files of {text}, a pattern")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default=os.environ.get("FASTFT_BENCH_MODEL", "embedded:smollm2-135m"))
    parser.add_argument("--json", action="store_true", help="print the JSON that is written to benches/results")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](chosen)))
        return
    sys.path.insert(0, str(ROOT / "python"))
    from fastft.models import resolve

    chosen.model = str(resolve(chosen.model))
    matching = glob.glob(chosen.corpus or "")  # noqa: PTH207  a pattern of the user's, absolute or not
    source = "texts of the quickstart" if chosen.corpus is None else f"{len(matching)} files of text"
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(chosen, Path(folder))
    found = keep("scale", {"corpus": source, "threads": chosen.threads, **figures})
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    made, memory = found["prepare"], found["prepare"]["memory"]
    print(f"{made['megabytes']:,.0f} MB in {made['rows']:,} documents ({source}), {chosen.threads} threads")
    print(f"  prepared in    {made['seconds']:.1f} s, {made['megabytes_per_cpu_second']:.2f} MB/CPU-s")
    print(
        f"  memory         {memory['peak_megabytes']:,.0f} MB at most; by fifths {memory['peak_of_each_fifth_megabytes']}"
    )
    print(f"  disk           {made['disk_bytes_per_token']:.2f} bytes a token, ids of {made['bits_of_an_id']} bits")
    print(f"  second run     {found['again']['seconds']:.2f} s")
    first = {kind: min(seconds) for kind, seconds in found["first_batch"].items()}
    print(f"  first batch    {first['cached']:.2f} s from the cache, {first['streaming']:.2f} s streaming")
    print(f"  last tenth     {found['uneven']['last_to_median']:.0%} of the median with 1 % long rows")


if __name__ == "__main__":
    main()
