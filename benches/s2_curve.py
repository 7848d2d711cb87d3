"""What S2 attention costs in loss: LoRA on the same documents with full attention and with groups, step by step.

    python benches/s2_curve.py --text FILE... [--model embedded:smollm2-135m] [--tokens 4096] [--steps 100] [--minutes 60]

Each step is one document of `--tokens` tokens of running text, every fourth token a target; r = 16 on all linear
layers, AdamW, float32. Both sides take turns in one process from the same weights, so what is
printed before the end can be used; the run ends after `--minutes` at the latest. At the end both are scored on documents
that were not trained on, with full attention, as a user of the result would.

Writes benches/results/s2_curve.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from keeping import keep

from fastft import models
from fastft.config.kinds import Batch
from fastft.config.schema import ModelConfig
from fastft.methods.lora import LoRA
from fastft.optimizers.adamw import AdamW
from fastft.stages._causal import CausalObjective

HELD_OUT = 4


def documents(model: str, paths: list[Path], tokens: int, count: int) -> list[Batch]:
    """`count` documents of running text."""
    tokenizer = models.load_tokenizer(models.resolve(model))
    ids: list[int] = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for start in range(0, len(text), 1 << 16):
            ids += tokenizer(text[start : start + (1 << 16)], add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) > tokens * count:
                return [document(ids[i * tokens : (i + 1) * tokens]) for i in range(count)]
    raise SystemExit(f"the text has {len(ids):,} tokens, {tokens * count:,} are needed")


def document(ids: list[int]) -> Batch:
    """A batch of one document."""
    shifted = torch.tensor([*ids[1:], -100])
    targets = torch.where(torch.arange(len(ids)) % 4 == 0, shifted, -100)
    return Batch(
        input_ids=torch.tensor([ids]),
        targets=targets[None],
        position_ids=torch.arange(len(ids))[None],
        cu_seqlens=torch.tensor([0, len(ids)], dtype=torch.int32),
        max_seqlen=len(ids),
        num_targets=int((targets != -100).sum()),
        windows=(),
    )


class Side:
    """A model that is trained, with its own adapter and optimizer."""

    def __init__(self, model: str, attention: str, group: int | None, lr: float) -> None:
        config = ModelConfig(path=model, attention=attention)  # type: ignore[arg-type]
        loaded = models.load(config, device=torch.device("cpu"), dtype=torch.float32, s2_group=group)
        torch.manual_seed(0)
        self.model = LoRA(rank=16, alpha=32).attach(loaded.model)
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = AdamW(lr=lr).build(trained)
        self.objective = CausalObjective(self.model)
        self.losses: list[float] = []
        self.seconds = 0.0

    def step(self, batch: Batch) -> float:
        """Learn from one document; the loss before."""
        start = time.perf_counter()
        self.model.train()
        loss = self.objective.loss(self.model, batch)
        (loss.total / loss.weight).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(float(loss.total.detach()) / loss.weight)
        self.seconds += time.perf_counter() - start
        return self.losses[-1]

    def score(self, batches: list[Batch]) -> float:
        """Mean loss with full attention."""
        self.model.eval()
        with torch.no_grad():
            found = [self.objective.loss(self.model, batch) for batch in batches]
        return sum(float(loss.total) for loss in found) / sum(loss.weight for loss in found)


def main() -> None:
    """Train both sides and keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--text", type=Path, nargs="+", required=True, help="UTF-8 text; about 400,000 tokens for all steps"
    )
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--tokens", type=int, default=4096, help="of a document; a group is a quarter")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=2e-4, help="learning rate of both sides")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", action="store_true", help="print the JSON that is written to benches/results")
    parser.add_argument("--out", type=Path, help="another file than benches/results/s2_curve.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    batches = documents(options.model, options.text, options.tokens, options.steps + HELD_OUT)
    group = 2 * -(-options.tokens // 8)
    sides = {"full": Side(options.model, "auto", None, options.lr), "s2": Side(options.model, "s2", group, options.lr)}
    held_out, start = batches[:HELD_OUT], time.monotonic()
    before = sides["full"].score(held_out)
    tell = (lambda text: None) if options.json else partial(print, flush=True)
    tell(f"before: {before:.4f} on held out documents")
    for step, batch in enumerate(batches[HELD_OUT:]):
        if time.monotonic() - start > 60 * options.minutes:
            break
        found = {name: side.step(batch) for name, side in sides.items()}
        told = "  ".join(f"{name} {loss:.4f}" for name, loss in found.items())
        tell(f"step {step + 1}: {told}  ratio {found['s2'] / found['full']:.4f}")
    steps = len(sides["s2"].losses)
    if not steps:
        raise SystemExit("no step was made")
    last = {name: statistics.fmean(side.losses[-10:]) for name, side in sides.items()}
    scores = {name: side.score(held_out) for name, side in sides.items()}
    figures: dict[str, Any] = {
        "model": options.model.rsplit("/", 1)[-1],
        "tokens": options.tokens,
        "group": group,
        "lr": options.lr,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "last_ten_losses": {name: round(loss, 4) for name, loss in last.items()},
        "ratio": round(last["s2"] / last["full"], 4),
        "held_out_full_attention": {"before": before, **scores},
        "held_out_ratio": round(scores["s2"] / scores["full"], 4),
        "seconds_a_step": {name: round(side.seconds / steps, 2) for name, side in sides.items()},
        "losses": {name: [round(loss, 4) for loss in side.losses] for name, side in sides.items()},
    }
    figures = keep("s2_curve", figures, target=options.out)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"after {steps} steps: loss {last['s2']:.4f} in groups, {last['full']:.4f} full: x{figures['ratio']:.4f}")
    print(f"held out, full attention: {scores['s2']:.4f} and {scores['full']:.4f}: x{figures['held_out_ratio']:.4f}")


if __name__ == "__main__":
    main()
