"""Our ops beside what they replace: both sides alternate in one process, medians and their ratio.

python benches/kernels.py [--quick]        writes benches/results/kernels.json
python benches/kernels.py --only s2 --out benches/results/s2_attention.json

nf4_quantize, nf4_dequantize    against bitsandbytes on the CPU
linear_cross_entropy            against torch's linear, cross entropy and their backward pass
lora_linear                     against PEFT's layer, forward and backward
rms_norm, swiglu, rope          against transformers' modules, forward and backward
s2_attention                    against full causal attention, and against its blocks by torch's own attention
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from keeping import keep

from fastft.ops import (
    linear_cross_entropy,
    lora_linear,
    nf4_dequantize,
    nf4_quantize,
    rms_norm,
    rope,
    s2_attention,
    swiglu,
    table,
)
from fastft.ops.s2_attention import s2_blocks

ROOT = Path(__file__).resolve().parents[1]


def race(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Alternate the two; the ratio is theirs / ours of each round, so above 1 is a win."""
    for side in (ours, theirs):
        side()
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for round_ in range(rounds):
        order = [("ours", ours), ("theirs", theirs)]
        for name, side in order if round_ % 2 else reversed(order):
            start = clock()
            side()
            times[name].append(clock() - start)
    ratios = sorted(b / a for a, b in zip(times["ours"], times["theirs"], strict=True))
    return {
        "ours_ms": round(statistics.median(times["ours"]) * 1e3, 3),
        "theirs_ms": round(statistics.median(times["theirs"]) * 1e3, 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(q, 3) for q in statistics.quantiles(ratios, n=4)[::2]],
        "rounds": rounds,
    }


def peak_bytes(body: str) -> int:
    """Growth of the resident peak over `body`, in a process of its own; `body` sets `start`."""
    lines = [
        "import torch",
        f"torch.set_num_threads({torch.get_num_threads()})",
        "def peak():",  # not getrusage: its peak outlives exec, so it would be that of this process
        "    return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])",
        body,
        "print(peak() - start)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * 1024


def nf4(rounds: int) -> dict[str, Any]:
    """A 2048 x 2048 weight, nested scales, both ways."""
    import bitsandbytes.functional as bnb

    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        w = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(0)).to(dtype)
        q = nf4_quantize(w)
        packed, state = bnb.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
        name = str(dtype).removeprefix("torch.")
        results[f"nf4_quantize/{name}"] = race(
            lambda w=w: nf4_quantize(w),
            lambda w=w: bnb.quantize_4bit(w, quant_type="nf4", compress_statistics=True),
            rounds,
        )
        results[f"nf4_dequantize/{name}"] = race(
            lambda q=q: nf4_dequantize(q), lambda p=packed, s=state: bnb.dequantize_4bit(p, s), rounds
        )
    return results


LOSS = """
from fastft.ops import linear_cross_entropy
g = torch.Generator().manual_seed(0)
h = torch.randn({rows}, {hidden}, generator=g).requires_grad_()
w = torch.randn({vocabulary}, {hidden}, generator=g).mul_(0.05)
y = torch.randint(0, {vocabulary}, ({rows},), generator=g)
(h[:8] @ w[:64].t()).sum().backward()
start = peak()
{call}.backward()
"""


def loss(rounds: int) -> dict[str, Any]:
    """The head of a 135M model: 384 tokens, all supervised or every second, frozen or trained."""
    shape = {"rows": 384, "hidden": 576, "vocabulary": 49152}
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(shape["rows"], shape["hidden"], generator=generator).requires_grad_()
    w = torch.randn(shape["vocabulary"], shape["hidden"], generator=generator).mul_(0.05)
    results = {}
    for supervised in (1, 2):
        y = torch.randint(0, shape["vocabulary"], (shape["rows"],), generator=generator)
        y[torch.arange(shape["rows"]) % supervised != 0] = -100
        for trained in (False, True):
            w.grad = None
            w.requires_grad_(trained)

            def ours(y: torch.Tensor = y) -> None:
                h.grad = w.grad = None
                linear_cross_entropy(h, w, y).backward()

            def theirs(y: torch.Tensor = y) -> None:
                h.grad = w.grad = None
                torch.nn.functional.cross_entropy(h @ w.t(), y, reduction="sum").backward()

            name = f"linear_cross_entropy/{100 // supervised}%_supervised/{'trained' if trained else 'frozen'}_head"
            results[name] = race(ours, theirs, rounds)
    call = {
        "ours": "linear_cross_entropy(h, w, y)",
        "theirs": "torch.nn.functional.cross_entropy(h @ w.t(), y, reduction='sum')",
    }
    peaks = {side: peak_bytes(LOSS.format(**shape, call=text)) for side, text in call.items()}
    results["linear_cross_entropy/peak_bytes"] = peaks | {"ratio": round(peaks["theirs"] / max(1, peaks["ours"]), 2)}
    return results


def lora(rounds: int) -> dict[str, Any]:
    """A 576 x 1536 projection with rank 16 over 256 tokens, forward and backward."""
    import peft

    torch.manual_seed(0)
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        config = peft.LoraConfig(r=16, target_modules=["0"], init_lora_weights=False)
        model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(576, 1536, bias=False)).to(dtype), config)
        layer = model.base_model.model[0]
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        x = torch.randn(256, 576).to(dtype).requires_grad_()
        dy = torch.randn(256, 1536).to(dtype)

        def ours(x=x, dy=dy, a=a, b=b, layer=layer) -> None:
            y = lora_linear(x, layer.base_layer.weight, a, b, layer.scaling["default"])
            torch.autograd.grad(y, (x, a, b), dy)

        def theirs(x=x, dy=dy, a=a, b=b, layer=layer) -> None:
            torch.autograd.grad(layer(x), (x, a, b), dy)

        results[f"lora_linear/{str(dtype).removeprefix('torch.')}"] = race(ours, theirs, rounds)
    return results


def pointwise(rounds: int) -> dict[str, Any]:
    """The passes over activations of a SmolLM2 layer, 2,048 tokens, in CPU seconds."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    torch.manual_seed(0)
    silu, tokens, results = torch.nn.functional.silu, 2048, {}
    for dtype in (torch.float32, torch.bfloat16):
        norm = LlamaRMSNorm(576).to(dtype).requires_grad_(False)
        turns = torch.randn(1, tokens, 32).repeat(1, 1, 2)
        angles = turns.cos().to(dtype), turns.sin().to(dtype)
        shapes = {
            "rms_norm": [(tokens, 576)],
            "swiglu": [(tokens, 1536)] * 2,
            "rope": [(1, tokens, heads, 64) for heads in (9, 3)],
        }
        sides = {
            "rms_norm": (lambda x, norm=norm: rms_norm(x, norm.weight), norm),
            "swiglu": (swiglu, lambda g, u: silu(g) * u),
            "rope": (lambda q, k, a=angles: rope(q, k, *a), lambda q, k, a=angles: apply_rotary_pos_emb(q, k, *a)),
        }
        for op, (mine, usual) in sides.items():
            inputs = [torch.randn(shape).to(dtype) for shape in shapes[op]]
            inputs = [(x.transpose(1, 2) if op == "rope" else x).requires_grad_() for x in inputs]
            above = [torch.randn_like(y) for y in as_tuple(usual(*inputs))]

            def both(side, inputs=inputs, above=above) -> None:
                torch.autograd.grad(as_tuple(side(*inputs)), inputs, above)

            label = f"{op}/{str(dtype).removeprefix('torch.')}"
            results[label] = race(
                lambda side=mine, run=both: run(side),
                lambda side=usual, run=both: run(side),
                3 * rounds,
                time.process_time,
            )
    return results


def as_tuple(found: Any) -> tuple[torch.Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


SHAPES = {"9 heads of 64, 3 key heads": (9, 3, 64), "32 heads of 128, 8 key heads": (32, 8, 128)}


def s2(rounds: int) -> dict[str, Any]:
    """One document of 8k tokens in groups of 2k, forward and backward, the shapes of a 135M and an 8B model."""
    tokens = 8192 if rounds > 3 else 1024
    generator = torch.Generator().manual_seed(0)
    results = {}
    for name, (heads, kv_heads, width) in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16)[: 2 if heads == 9 else 1]:  # torch's bfloat16 takes minutes
            q, k, v, dout = (
                torch.randn(n, tokens, width, generator=generator).to(dtype) for n in (heads, kv_heads, kv_heads, heads)
            )
            qkv = [x.requires_grad_() for x in (q, k, v)]

            def ours(qkv=qkv, dout=dout) -> None:
                out = s2_attention(*(x.transpose(0, 1) for x in qkv), group=tokens // 4)
                torch.autograd.grad(out, qkv, dout.transpose(0, 1))

            def full(qkv=qkv, dout=dout) -> None:
                out = torch.nn.functional.scaled_dot_product_attention(
                    *(x[None] for x in qkv), is_causal=True, enable_gqa=True
                )
                torch.autograd.grad(out, qkv, dout[None])

            def blocks(qkv=qkv, dout=dout) -> None:
                torch.autograd.grad(blocks_by_torch(*qkv, tokens // 4), qkv, dout)

            label = f"s2_attention/{tokens} tokens/{name}/{str(dtype).removeprefix('torch.')}"
            few = rounds // 2 if heads == 9 else 3  # full attention takes seconds at the one, a minute at the other
            if dtype == torch.float32:
                results[f"{label}/full"] = race(ours, full, max(3, few))
            results[f"{label}/blocks"] = race(ours, blocks, max(3, few))
    return results


def blocks_by_torch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, group: int) -> torch.Tensor:
    """The same attention without a kernel of ours: torch's causal attention over views, block by block.

    Takes and gives (heads, tokens, width).
    """
    heads, share = q.shape[0], q.shape[0] // k.shape[0]
    k, v = (x.repeat_interleave(share, 0) for x in (k, v))  # key heads that serve both halves allow no `enable_gqa`
    parts = []
    for of, shifted in ((slice(heads // 2), False), (slice(heads // 2, heads), True)):
        bounds = s2_blocks([0, q.shape[1]], group, shifted=shifted)
        done = [
            torch.nn.functional.scaled_dot_product_attention(
                q[None, of, start:stop], k[None, of, start:stop], v[None, of, start:stop], is_causal=True
            )
            for start, stop in pairwise(bounds)
        ]
        parts.append(torch.cat(done, dim=2)[0])
    return torch.cat(parts)


PARTS = (nf4, loss, lora, pointwise, s2)


def main() -> None:
    """Run all, print a table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, no figures to quote")
    parser.add_argument("--out", type=Path, help="another file than benches/results/kernels.json")
    parser.add_argument("--json", action="store_true", help="print the JSON that is written to benches/results")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS], help="one part; needs --out to be kept")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    kernels = {row.op: row.cpu for row in table().rows}
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__, "kernels": kernels}
    for part in PARTS:
        if options.only not in (None, part.__name__):
            continue
        results |= part(rounds)
        gc.collect()
    for name, row in ({} if options.json else results).items():
        if not isinstance(row, dict):
            continue
        if "ours_ms" in row:
            low, high = row["ratio_quartiles"]
            print(
                f"{name:58} {row['ours_ms']:10.2f} ms {row['theirs_ms']:10.2f} ms   x{row['ratio']:.2f} ({low:.2f}-{high:.2f})"
            )
        elif "ours" in row:
            print(f"{name:58} {row['ours'] / 2**20:10.1f} MB {row['theirs'] / 2**20:10.1f} MB   x{row['ratio']:.2f}")
    if not options.quick and (options.out or not options.only):
        results = keep("kernels", results, target=options.out)
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
