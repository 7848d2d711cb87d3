"""JSONL -> templated, masked, packed tokens: fastft against `datasets.map`, and LLaMA-Factory where it is installed.

Every measurement is a process of its own with one thread, in turn; what is compared is CPU seconds (user + system)
after imports and after loading the tokenizer, for everything from the file to the last packed batch, caches empty.
`datasets.map` only renders and tokenizes (batched `apply_chat_template`); it makes no mask and packs nothing, so
the ratio is a lower bound.

    python benches/data/bench.py [--model FOLDER] [--data FILE.jsonl] [--rows N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benches/
from keeping import keep

ROOT = Path(__file__).resolve().parents[2]
MAX_LENGTH = 2048
ONE_THREAD = {
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_fastft(model: str, data: str, work: Path) -> dict[str, Any]:
    import torch  # noqa: F401  batches are tensors; its import is not what is measured

    from fastft.config.kinds import STAGES
    from fastft.config.schema import DataConfig, ModelConfig
    from fastft.core.events import Bus
    from fastft.data import Batches, prepare
    from fastft.models import tokenizer_files

    options: dict[str, Any] = {"max_length": MAX_LENGTH, "truncate": "right", "threads": 1}
    stage = STAGES.get("sft")
    assert stage is not None
    tokenizer = tokenizer_files(ModelConfig(path=model))
    first = work / "first.jsonl"
    with Path(data).open() as file:
        first.write_text(file.readline())
    # the template's certification and its verdict are kept for good: made here, like the other side's tokenizer
    prepare(
        DataConfig.model_validate({"train": [{"path": str(first)}], **options}),
        stage(),
        tokenizer,
        seed=1,
        cache=work,
        bus=Bus(),
    )
    config = DataConfig.model_validate({"train": [{"path": data}], **options})
    base, begin, wall = peak_bytes(), cpu_seconds(), time.perf_counter()
    prepared = prepare(config, stage(), tokenizer, seed=1, cache=work, bus=Bus())
    batches = Batches(prepared.train, max_length=MAX_LENGTH, packing="best-fit", windows_per_step=8, micro=1, seed=1)
    tokens = sum(b.input_ids.shape[1] for _ in range(batches.steps_in_epoch()) for b in batches.next_step())
    cpu, wall = cpu_seconds() - begin, time.perf_counter() - wall
    total = prepared.books["total"]
    assert total["used"] == total["read"], total
    return {"cpu": cpu, "wall": wall, "tokens": tokens, "peak_bytes": peak_bytes(), "work_bytes": peak_bytes() - base}


def run_datasets(model: str, data: str, work: Path) -> dict[str, Any]:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model)

    def encode(rows: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer.apply_chat_template(
            rows["messages"], tokenize=True, truncation=True, max_length=MAX_LENGTH, return_dict=True
        )
        return {"input_ids": found["input_ids"]}

    tokenizer.apply_chat_template([{"role": "user", "content": "warm"}, {"role": "assistant", "content": "up"}])
    base, begin, wall = peak_bytes(), cpu_seconds(), time.perf_counter()
    rows = datasets.load_dataset("json", data_files=data, split="train", cache_dir=str(work))
    done = rows.map(encode, batched=True, remove_columns=rows.column_names)
    cpu, wall = cpu_seconds() - begin, time.perf_counter() - wall
    tokens = sum(map(len, done["input_ids"]))
    return {"cpu": cpu, "wall": wall, "tokens": tokens, "peak_bytes": peak_bytes(), "work_bytes": peak_bytes() - base}


def run_llamafactory(model: str, data: str, work: Path) -> dict[str, Any]:
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    info = {"bench": {"file_name": data, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}}
    (work / "dataset_info.json").write_text(json.dumps(info))
    arguments = {
        "model_name_or_path": model,
        "stage": "sft",
        "do_train": True,
        "dataset": "bench",
        "dataset_dir": str(work),
        "template": "chatml",
        "cutoff_len": MAX_LENGTH,
        "packing": True,
        "neat_packing": True,
        "overwrite_cache": True,
        "output_dir": str(work / "out"),
        "report_to": "none",
    }
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    base, begin, wall = peak_bytes(), cpu_seconds(), time.perf_counter()
    found = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)
    cpu, wall = cpu_seconds() - begin, time.perf_counter() - wall
    tokens = sum(map(len, found["train_dataset"]["input_ids"]))
    return {"cpu": cpu, "wall": wall, "tokens": tokens, "peak_bytes": peak_bytes(), "work_bytes": peak_bytes() - base}


SIDES = {"fastft": run_fastft, "datasets": run_datasets, "llamafactory": run_llamafactory}


def own_rows(path: Path, rows: int) -> None:
    """Rows of the quickstart, with a number each so that no two are alike."""
    some: list[tuple[str, str]] = []
    for file in sorted((ROOT / "configs" / "data").glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            if "messages" in row:
                texts = [m["content"] for m in row["messages"] if m["role"] in ("user", "assistant")]
                some.append((texts[0], texts[1]))
            else:
                some.append((row["instruction"], row["output"]))
    with path.open("w", encoding="utf-8") as out:
        for number in range(rows):
            question, answer = some[number % len(some)]
            more = some[(number * 7 + 3) % len(some)]
            messages = [
                {"role": "user", "content": f"{question} ({number})"},
                {"role": "assistant", "content": answer},
                {"role": "user", "content": f"{more[0]} [{number}]"},
                {"role": "assistant", "content": more[1]},
            ]
            out.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def measure(side: str, model: str, data: Path) -> dict[str, Any]:
    """Run one side in a process of its own."""
    with tempfile.TemporaryDirectory() as work:
        places = [str(ROOT / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]  # LLaMA-Factory may be there
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(places)}
        command = [sys.executable, __file__, "--side", side, "--work", work, "--model", model, "--data", str(data)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def report(results: dict[str, list[dict[str, Any]]], megabytes: float, rows: int, source: str) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    for side, runs in results.items():
        sides[side] = {
            "cpu_seconds": spread([run["cpu"] for run in runs]),
            "megabytes_per_cpu_second": spread([megabytes / run["cpu"] for run in runs]),
            "tokens_per_cpu_second": spread([run["tokens"] / run["cpu"] for run in runs]),
            "peak_bytes": max(run["peak_bytes"] for run in runs),
            "work_bytes": max(run["work_bytes"] for run in runs),
            "tokens": runs[0]["tokens"],
        }
    ratios = {
        side: spread([theirs["cpu"] / ours["cpu"] for ours, theirs in zip(results["fastft"], runs, strict=True)])
        for side, runs in results.items()
        if side != "fastft"
    }
    return {
        "data": source,
        "rows": rows,
        "megabytes": megabytes,
        "sides": sides,
        "cpu_time_ratio": ratios,
        "rounds": len(results["fastft"]),
    }


def plan_packing() -> list[dict[str, Any]]:
    """Seconds of the pack planner alone over 10 million lengths, for each capacity; nothing without cargo."""
    if shutil.which("cargo") is None:
        return []
    command = ["cargo", "run", "--release", "--quiet", "-p", "fastft-pipeline", "--example", "pack"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def print_report(found: dict[str, Any]) -> None:
    print(
        f"{found['rows']:,} rows, {found['megabytes']:.1f} MB, one thread, {found['rounds']} rounds in turn, {found['about']['cpu']}"
    )
    for side, figures in found["sides"].items():
        rate, tokens = figures["megabytes_per_cpu_second"], figures["tokens_per_cpu_second"]
        print(
            f"  {side:<13}{rate['median']:8.2f} MB/CPU-s ({rate['min']:.2f}-{rate['max']:.2f})"
            f"{tokens['median'] / 1e6:8.2f} M tokens/CPU-s   peak {figures['peak_bytes'] / 2**20:,.0f} MiB"
            f" (+{figures['work_bytes'] / 2**20:,.0f} for the work)"
        )
    for side, ratio in found["cpu_time_ratio"].items():
        print(
            f"  fastft is {ratio['median']:.1f} x as fast as {side} per CPU second ({ratio['min']:.1f}-{ratio['max']:.1f})"
        )
    for plan in found["pack_plan"]:
        print(
            f"  packing {plan['documents']:,} documents in windows of {plan['capacity']:,} is planned in"
            f" {plan['seconds']:.2f} s, {plan['fill']:.2%} full"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("FASTFT_BENCH_MODEL", "embedded:smollm2-135m"))
    parser.add_argument("--data", type=Path, help="JSONL of {messages}; else rows made from the quickstart's")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the JSON that is written to benches/results")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](chosen.model, str(chosen.data), chosen.work)))
        return
    sys.path.insert(0, str(ROOT / "python"))
    from fastft.models import resolve

    model = str(resolve(chosen.model))
    sides = ["fastft", "datasets"] + (["llamafactory"] if importlib.util.find_spec("llamafactory") else [])
    with tempfile.TemporaryDirectory() as folder:
        data = chosen.data or Path(folder) / "rows.jsonl"
        if chosen.data is None:
            own_rows(data, chosen.rows)
        results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(chosen.rounds):
            for side in sides:
                results[side].append(measure(side, model, data))
        with data.open("rb") as file:
            rows = sum(1 for _ in file)
        source = "rows made from the quickstart's" if chosen.data is None else chosen.data.name
        found = report(results, data.stat().st_size / 1e6, rows, source)
    found = keep("data", found | {"pack_plan": plan_packing()})
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        print_report(found)


if __name__ == "__main__":
    main()
