"""What a GPU gives, and what our ops make of it: the figures that decide how the kernels go on.

    python benches/gpu/calibrate.py [--out FILE.json]
    python benches/gpu/calibrate.py --codec             small NF4 round trips only, for compute-sanitizer
    python benches/gpu/calibrate.py --device cpu        tiny shapes: shows that it runs, no figures to quote

copy                GB/s of reading and writing 2 GiB
gemm                TFLOP/s of 8192^3 in bfloat16
extended            time of a product over K + 64 columns, and over rows K + 64 apart, as a share of the plain one
skinny              GB/s of LoRA's products, which read one large matrix
nf4_dequantize      GB/s of ours (2.52 bytes a weight), and bitsandbytes' time where it is installed
linear              LoRA over bfloat16 and over NF4, forward and backward, and PEFT over bfloat16
loss                linear_cross_entropy and torch's, 8,192 tokens by 128,256 words: time and peak memory
attention           S2 in quarters against full causal attention, forward and backward

A part that fails is told with its error; the others go on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benches/
from keeping import keep

from fastft.ops import (
    linear_cross_entropy,
    lora_linear,
    nf4_dequantize,
    nf4_quantize,
    qlora_linear,
    s2_attention,
    table,
)

F = torch.nn.functional


class Machine:
    """The device, its clock, and sizes that fit it."""

    def __init__(self, device: str) -> None:
        self.device, self.cuda = device, device != "cpu"

    def size(self, full: int) -> int:
        return full if self.cuda else max(64, full // 64)

    def randn(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=self.device, dtype=torch.bfloat16)

    def ms(self, call: Callable[[], object], rounds: int = 10) -> float:
        """Median milliseconds of a call, the cache being cold of it only as its size makes it."""
        for _ in range(3):
            call()
        times = []
        for _ in range(rounds):
            if self.cuda:
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                call()
                end.record()
                end.synchronize()
                times.append(begin.elapsed_time(end))
            else:
                start = time.perf_counter()
                call()
                times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)

    def peak(self, call: Callable[[], object]) -> int:
        """Bytes that a call takes beyond what is held before it; 0 on a CPU."""
        if not self.cuda:
            return 0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


def copy(m: Machine) -> dict[str, Any]:
    x = torch.empty(m.size(1 << 30), dtype=torch.bfloat16, device=m.device)
    y = torch.empty_like(x)
    ms = m.ms(lambda: y.copy_(x))
    return {"ms": ms, "gb_per_s": 2 * x.nbytes / ms / 1e6}


def gemm(m: Machine) -> dict[str, Any]:
    n = m.size(8192)
    a, b = m.randn(n, n), m.randn(n, n)
    ms = m.ms(lambda: a @ b)
    return {"ms": ms, "tflop_per_s": 2 * n**3 / ms / 1e9}


def extended(m: Machine) -> dict[str, Any]:
    found = {}
    for tokens, rows, depth in ((4096, 4096, 4096), (8192, 14336, 4096), (8192, 4096, 14336)):
        tokens, rows, depth = (m.size(each) for each in (tokens, rows, depth))
        x, w = m.randn(tokens, depth + 64), m.randn(rows, depth + 64)
        flat_x, flat_w = x[:, :depth].contiguous(), w[:, :depth].contiguous()
        plain = m.ms(lambda x=flat_x, w=flat_w: x @ w.t())
        found[f"{tokens} x {rows} x {depth}"] = {
            "plain_ms": plain,
            "longer": m.ms(lambda x=x, w=w: x @ w.t()) / plain,
            "apart": m.ms(lambda x=x[:, :depth], w=w[:, :depth]: x @ w.t()) / plain,
        }
    return found


def skinny(m: Machine) -> dict[str, Any]:
    found = {}
    x = m.randn(m.size(8192), m.size(4096))
    for rank in (16, 64):
        a, s = m.randn(rank, x.shape[1]), m.randn(x.shape[0], rank)
        for name, call in {"x A^T": lambda a=a: x @ a.t(), "S^T x": lambda s=s: s.t() @ x}.items():
            ms = m.ms(call)
            found[f"{name}, rank {rank}"] = {"ms": ms, "gb_per_s": x.nbytes / ms / 1e6}
    return found


def dequantize(m: Machine) -> dict[str, Any]:
    found = {}
    for rows, depth in ((4096, 4096), (14336, 4096)):
        w = m.randn(m.size(rows), m.size(depth))
        q = nf4_quantize(w)
        ms = m.ms(lambda q=q: nf4_dequantize(q))
        row = {"ms": ms, "gb_per_s": 2.516 * w.numel() / ms / 1e6}
        try:
            from bitsandbytes import functional
        except ImportError:
            row["bitsandbytes"] = "not installed"
        else:
            packed, state = functional.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
            row["bitsandbytes_ms"] = m.ms(lambda p=packed, s=state: functional.dequantize_4bit(p, s))
        found[f"{rows} x {depth}"] = row
    return found


def linear(m: Machine) -> dict[str, Any]:
    import peft

    tokens, rows, depth, rank = m.size(8192), m.size(14336), m.size(4096), 16
    config = peft.LoraConfig(r=rank, target_modules=["0"], init_lora_weights=False)
    base = torch.nn.Linear(depth, rows, bias=False, device=m.device, dtype=torch.bfloat16)
    layer = peft.get_peft_model(torch.nn.Sequential(base), config, autocast_adapter_dtype=False).base_model.model[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    q = nf4_quantize(base.weight.detach())
    x, dy = m.randn(tokens, depth).requires_grad_(), m.randn(tokens, rows)
    sides = {
        "peft_ms": lambda: layer(x),
        "lora_ms": lambda: lora_linear(x, base.weight, a, b, 2.0),
        "qlora_ms": lambda: qlora_linear(x, q, a, b, 2.0),
        "base_ms": lambda: F.linear(x, base.weight.detach()),
    }

    def both(side: Callable[[], torch.Tensor]) -> None:
        torch.autograd.grad(side(), (x, a, b), dy, allow_unused=True)

    return {name: m.ms(lambda side=side: both(side)) for name, side in sides.items()}


def loss(m: Machine) -> dict[str, Any]:
    tokens, words, depth = m.size(8192), m.size(128256), m.size(4096)
    h, w = m.randn(tokens, depth).requires_grad_(), m.randn(words, depth)
    target = torch.randint(0, words, (tokens,), device=m.device)
    sides = {
        "ours": lambda: linear_cross_entropy(h, w, target).backward(),
        "eager": lambda: F.cross_entropy((h @ w.t()).float(), target, reduction="sum").backward(),
    }
    return {name: {"ms": m.ms(side, 5), "peak_bytes": m.peak(side)} for name, side in sides.items()}


def attention(m: Machine) -> dict[str, Any]:
    found = {}
    for tokens in (8192, 32768):
        tokens = m.size(tokens)
        q, k, v = (m.randn(tokens, heads, 128).requires_grad_() for heads in (32, 8, 8))
        above = m.randn(tokens, 32, 128)

        def full(q=q, k=k, v=v) -> torch.Tensor:
            turned = [x.transpose(0, 1)[None] for x in (q, k, v)]
            out = F.scaled_dot_product_attention(*turned, is_causal=True, enable_gqa=True)
            return out[0].transpose(0, 1)

        def groups(q=q, k=k, v=v, tokens=tokens) -> torch.Tensor:
            return s2_attention(q, k, v, group=tokens // 4)

        found[str(tokens)] = {
            name: m.ms(lambda side=side, i=(q, k, v), d=above: torch.autograd.grad(side(), i, d), 5)
            for name, side in {"full_ms": full, "s2_ms": groups}.items()
        }
    return found


PARTS = (copy, gemm, extended, skinny, dequantize, linear, loss, attention)


def codec(device: str) -> None:
    """Every kernel of the codec once, on sizes with ragged ends, against the CPU."""
    for count in (1, 63, 4097, 100_000):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            w = torch.randn(count, generator=torch.Generator().manual_seed(count)).to(dtype)
            there, here = nf4_quantize(w.to(device)), nf4_quantize(w)
            if not torch.equal(there.packed.cpu(), here.packed):
                raise SystemExit(f"{count} weights of {dtype}: other bytes than on the CPU")
            torch.testing.assert_close(nf4_dequantize(there).cpu(), nf4_dequantize(here), rtol=0, atol=0)


def main() -> None:
    """Measure all, print each part as it is there, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--codec", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.codec:
        codec(options.device)
        return
    machine = Machine(options.device)
    found: dict[str, Any] = {"torch": torch.__version__, "kernels": {row.op: row.cuda for row in table().rows}}
    if machine.cuda:
        found["gpu"] = torch.cuda.get_device_name()
    for part in PARTS:
        begin = time.perf_counter()
        try:
            found[part.__name__] = part(machine)
        except Exception as error:  # the next part may work
            found[part.__name__] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        print(f"{part.__name__} ({time.perf_counter() - begin:.0f} s): {found[part.__name__]}", flush=True)
        if machine.cuda:
            torch.cuda.empty_cache()
    if options.out:
        keep("gpu", found, target=options.out.resolve())
    if any("failed" in found[part.__name__] for part in PARTS):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
