"""A LoRA step of SmolLM2-135M: fastft against a plain torch + peft loop on the same tokens.

    python benches/train_step.py [--model embedded:smollm2-135m] [--data FILE.jsonl] [--json]

Real chat rows (`messages`, or alpaca's fields) are packed into windows of 512 tokens. Each side
runs in a process of its own, in turns, in float32 on one thread, r = 16 on all linear layers,
AdamW, four windows a step; the first step is not counted.

    ours    the objective, attention and LoRA layers that `fastft train` uses
    plain   what a careful user writes: the same packed windows as a (4, 512) batch with
            position_ids, sdpa, full logits, F.cross_entropy
    padded  what most users write: the same rows, one a line, padded to the longest of the batch

Tokens are real tokens, never padding. CPU seconds are of the process; memory is the peak
resident size of the process, with the interpreter, torch and the weights in it.
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
import time
from pathlib import Path
from typing import Any

import numpy as np
from keeping import keep

WINDOW = 512
WINDOWS_A_STEP = 4
HERE = Path(__file__).resolve().parent


def rows_of(path: Path, limit: int) -> list[list[dict[str, str]]]:
    """The conversations of a JSON or JSONL file of `messages` or alpaca rows."""
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    found = []
    for row in rows:
        if "messages" in row:
            found.append(row["messages"])
        elif "instruction" in row:
            question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
            found.append([{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}])
    return found[:limit]


def default_data() -> list[Path]:
    """Alpaca rows of the larger data, where FASTFT_SHARED names it, else the quickstart's."""
    shared = Path(os.environ.get("FASTFT_SHARED", ""))
    for folder in (shared, shared / "data"):
        found = folder / "llamafactory_demo" / "alpaca_en_demo.json"
        if found.is_file():
            return [found]
    return sorted((HERE.parent / "configs" / "data").glob("*.jsonl"))


def tokenize(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Ids of a conversation, and the ids again where an answer is trained, else -100."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in range(1, len(messages) + 1):
        trained = messages[turn - 1]["role"] == "assistant"
        if trained:  # the header of an answer is given, not learnt
            head = tokenizer.apply_chat_template(messages[: turn - 1], add_generation_prompt=True)["input_ids"]
            labels += [-100] * (len(head) - len(ids))
            ids = head
        whole = tokenizer.apply_chat_template(messages[:turn])["input_ids"]
        labels += whole[len(ids) :] if trained else [-100] * (len(whole) - len(ids))
        ids = whole
    return ids, labels


def pack(documents: list[tuple[list[int], list[int]]]) -> list[list[int]]:
    """Indices of documents by window, best fit decreasing."""
    windows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(documents)), key=lambda i: -len(documents[i][0])):
        length = len(documents[index][0])
        fits = [w for w, free in enumerate(room) if free >= length]
        if fits:
            best = min(fits, key=lambda w: room[w])
            windows[best].append(index)
            room[best] -= length
        elif length <= WINDOW:
            windows.append([index])
            room.append(WINDOW - length)
    return windows


def prepare(model: str, data: list[Path], steps: int, to: Path) -> dict[str, Any]:
    """Write the documents of each step to a file both sides read."""
    from fastft.models import load_tokenizer, resolve

    tokenizer = load_tokenizer(resolve(model))
    documents = [tokenize(tokenizer, messages) for path in data for messages in rows_of(path, 2000)]
    windows = [w for w in pack(documents) if sum(len(documents[i][0]) for i in w) > 0.9 * WINDOW]
    order = np.random.default_rng(0).permutation(len(windows))[: steps * WINDOWS_A_STEP]
    if len(order) < steps * WINDOWS_A_STEP:
        raise SystemExit(f"the rows fill {len(order)} windows of {WINDOW}, {steps * WINDOWS_A_STEP} are needed")
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for slot, window in enumerate(order):
        for place, index in enumerate(windows[window]):
            arrays[f"{slot:04d}.{place:03d}"] = np.array(documents[index], dtype=np.int64)
    np.savez(to, **arrays)
    total = sum(a.shape[1] for a in arrays.values())
    trained = sum(int((a[1] != -100).sum()) for a in arrays.values())
    return {"tokens": total, "trained_tokens": trained, "documents": len(arrays), "windows": len(order)}


def steps_in(path: Path) -> list[list[list[np.ndarray[Any, Any]]]]:
    """Steps of windows of documents, each (2, L): ids and labels."""
    arrays = np.load(path)
    slots: dict[str, list[np.ndarray[Any, Any]]] = {}
    for name in sorted(arrays.files):
        slots.setdefault(name.split(".")[0], []).append(arrays[name])
    windows = list(slots.values())
    return [windows[i : i + WINDOWS_A_STEP] for i in range(0, len(windows), WINDOWS_A_STEP)]


def shifted(document: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Labels as targets: what is to be predicted from each position."""
    return np.append(document[1][1:], -100)


def measure(step: Any, steps: list[Any], tokens: list[int]) -> dict[str, Any]:
    """Run every step, the first one uncounted."""
    losses = []
    cpu = wall = 0.0
    for index, work in enumerate(steps):
        if index == 1:
            cpu, wall = time.process_time(), time.perf_counter()
        losses.append(step(work))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "tokens": sum(tokens[1:]),
        "cpu_seconds": cpu,
        "seconds": wall,
        "tokens_per_cpu_second": sum(tokens[1:]) / cpu,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "losses": losses,
    }


def run_ours(model: str, steps: list[Any]) -> dict[str, Any]:
    """Fastft's own path."""
    import torch

    from fastft import models
    from fastft.config.kinds import Batch
    from fastft.config.schema import ModelConfig
    from fastft.methods.lora import LoRA
    from fastft.optimizers.adamw import AdamW
    from fastft.stages._causal import CausalObjective

    loaded = models.load(ModelConfig(path=model), device=torch.device("cpu"), dtype=torch.float32)
    torch.manual_seed(0)
    adapted = LoRA(rank=16, alpha=32).attach(loaded.model)
    trained = [(name, p) for name, p in adapted.named_parameters() if p.requires_grad]
    optimizer = AdamW(lr=1e-4).build(trained)
    objective = CausalObjective(adapted)

    def batch(windows: list[list[np.ndarray[Any, Any]]]) -> Batch:
        documents = [document for window in windows for document in window]
        lengths = [document.shape[1] for document in documents]
        targets = torch.from_numpy(np.concatenate([shifted(d) for d in documents]))[None]
        return Batch(
            input_ids=torch.from_numpy(np.concatenate([d[0] for d in documents]))[None],
            targets=targets,
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            cu_seqlens=torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32),
            max_seqlen=max(lengths),
            num_targets=int((targets != -100).sum()),
            windows=(),
        )

    def step(work: Batch) -> float:
        loss = objective.loss(adapted, work)
        (loss.total / loss.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.total.detach()) / loss.weight

    return measure(step, [batch(s) for s in steps], [sum(d.shape[1] for w in s for d in w) for s in steps])


def run_plain(model: str, steps: list[Any], *, padded: bool) -> dict[str, Any]:
    """A loop in plain torch, transformers and peft."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from fastft.models import resolve  # the folder only

    base = AutoModelForCausalLM.from_pretrained(resolve(model), dtype=torch.float32, attn_implementation="sdpa")
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted.train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)

    def rows(windows: list[list[np.ndarray[Any, Any]]]) -> dict[str, torch.Tensor]:
        lines = [[d] for w in windows for d in w] if padded else windows
        length = max(sum(d.shape[1] for d in line) for line in lines)
        shape = (len(lines), length)
        ids, targets = np.zeros(shape, np.int64), np.full(shape, -100, np.int64)
        positions, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, line in enumerate(lines):
            used = sum(d.shape[1] for d in line)
            ids[row, :used] = np.concatenate([d[0] for d in line])
            targets[row, :used] = np.concatenate([shifted(d) for d in line])
            positions[row, :used] = np.concatenate([np.arange(d.shape[1]) for d in line])
            mask[row, :used] = 1
        kept = {"input_ids": ids, "targets": targets} | (
            {"attention_mask": mask} if padded else {"position_ids": positions}
        )
        return {name: torch.from_numpy(value) for name, value in kept.items()}

    def step(work: dict[str, torch.Tensor]) -> float:
        inputs = {name: value for name, value in work.items() if name != "targets"}
        logits = adapted(**inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), work["targets"].flatten(), ignore_index=-100)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return measure(step, [rows(s) for s in steps], [sum(d.shape[1] for w in s for d in w) for s in steps])


def child(side: str, model: str, batches: Path) -> dict[str, Any]:
    """One side in this process."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    steps = steps_in(batches)
    return run_ours(model, steps) if side == "ours" else run_plain(model, steps, padded=side == "padded")


def main() -> int:
    """Run the sides in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", type=Path, nargs="+", default=default_data())
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of each process, the first not counted")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side")
    parser.add_argument("--sides", default="ours,plain", help="of ours, plain and padded; the last needs 24 GB")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument("--out", type=Path, help="another file than benches/results/train_step.json")
    parser.add_argument("--child", choices=["ours", "plain", "padded"], help=argparse.SUPPRESS)
    parser.add_argument("--batches", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        print(json.dumps(child(a.child, a.model, a.batches)))
        return 0
    sides = a.sides.split(",")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder) / "batches.npz"
        data = prepare(a.model, a.data, a.steps, batches)
        load = [os.getloadavg()[0]]
        for _ in range(a.rounds):
            for side in sides:
                command = [sys.executable, __file__, "--child", side, "--model", a.model, "--batches", str(batches)]
                environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                runs[side].append(json.loads(done.stdout.splitlines()[-1]))
                load.append(os.getloadavg()[0])
    figures: dict[str, Any] = {
        "command": " ".join(["python", "benches/train_step.py", *(arg.rsplit("/", 1)[-1] for arg in sys.argv[1:])]),
        "load": [round(x, 2) for x in load],
        "data": data,
        "sides": {
            side: {
                "tokens_per_cpu_second": [round(r["tokens_per_cpu_second"], 1) for r in of],
                "peak_bytes": [r["peak_bytes"] for r in of],
                "first_loss": of[0]["losses"][0],
                "last_loss": of[0]["losses"][-1],
            }
            for side, of in runs.items()
        },
        "ratios": {},
    }
    for side in sides[1:]:
        speed = [
            o["tokens_per_cpu_second"] / p["tokens_per_cpu_second"]
            for o, p in zip(runs[sides[0]], runs[side], strict=True)
        ]
        memory = [o["peak_bytes"] / p["peak_bytes"] for o, p in zip(runs[sides[0]], runs[side], strict=True)]
        figures["ratios"][side] = {
            "tokens_per_cpu_second": round(statistics.median(speed), 3),
            "spread": [round(min(speed), 3), round(max(speed), 3)],
            "peak_memory": round(statistics.median(memory), 3),
        }
    result = keep("train_step", figures, target=a.out)
    if a.json:
        print(json.dumps(result))
        return 0
    for side, of in result["sides"].items():
        speed, peak = statistics.median(of["tokens_per_cpu_second"]), statistics.median(of["peak_bytes"]) / 2**30
        print(f"{side:8} {speed:8.1f} tokens per CPU second   {peak:6.2f} GiB peak   loss {of['last_loss']:.6f}")
    for side, ratio in result["ratios"].items():
        low, high = ratio["spread"]
        print(
            f"ours / {side}: {ratio['tokens_per_cpu_second']:.2f}x tokens per CPU second ({low:.2f} to {high:.2f}), "
            f"{ratio['peak_memory']:.2f}x memory"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
