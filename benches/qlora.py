"""LoRA over NF4 beside PEFT over bitsandbytes, in CPU seconds of all threads; both sides alternate in one process.

python benches/qlora.py [--quick]        writes benches/results/qlora.json

qlora_linear        the seven linear layers of a decoder layer with rank 16, forward and backward
nf4_matmul_small    the gate projection for one row and for eight, without a gradient
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import bitsandbytes
import peft
import torch
from keeping import keep
from kernels import race

from fastft.ops import NF4Weight, lora_linears, nf4_matmul_small, table

DECODERS = {"smollm2-135m": (576, 1536, 192), "qwen2.5-0.5b": (896, 4864, 128)}
"""Hidden, intermediate, and the width of keys and values."""
GROUPS = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))


def layers_of(hidden: int, intermediate: int, kv: int, dtype: torch.dtype) -> torch.nn.Module:
    """The linear layers of a decoder layer as PEFT and bitsandbytes hold them, adapters in float32."""
    shapes = {"q": (hidden, hidden), "k": (hidden, kv), "v": (hidden, kv), "o": (hidden, hidden)}
    shapes |= {"gate": (hidden, intermediate), "up": (hidden, intermediate), "down": (intermediate, hidden)}
    torch.manual_seed(0)
    model = torch.nn.Module()
    for name, (k, n) in shapes.items():
        layer = bitsandbytes.nn.Linear4bit(k, n, bias=False, compute_dtype=dtype, quant_type="nf4")
        layer.load_state_dict({"weight": torch.randn(n, k).mul_(0.02).to(dtype)})
        model.add_module(name, layer.to("cpu"))
    model.is_loaded_in_4bit = True
    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules=list(shapes), init_lora_weights=False)
    return peft.get_peft_model(model, config).base_model.model


def packed(layer: Any) -> NF4Weight:
    """The weight that bitsandbytes holds, byte for byte."""
    weight = layer.base_layer.weight
    return NF4Weight.from_state_dict({"": weight.data, **weight.quant_state.as_dict(packed=True)})


def linears(layers: torch.nn.Module, rows: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    named = dict(layers.named_children())
    q = {name: packed(layer) for name, layer in named.items()}
    a = {name: layer.lora_A["default"].weight for name, layer in named.items()}
    b = {name: layer.lora_B["default"].weight for name, layer in named.items()}
    x = torch.randn(rows, q["gate"].shape[1]).to(dtype).requires_grad_()
    wide = torch.randn(rows, q["down"].shape[1]).to(dtype).requires_grad_()
    grads = {name: torch.randn(rows, weight.shape[0]).to(dtype) for name, weight in q.items()}
    wanted = [x, wide, *a.values(), *b.values()]

    def ours() -> tuple[torch.Tensor, ...]:
        outputs: dict[str, torch.Tensor] = {}
        for names in GROUPS:
            ys = lora_linears(
                wide if names == ("down",) else x,
                [q[name] for name in names],
                [a[name] for name in names],
                [b[name] for name in names],
                [2.0] * len(names),
            )
            outputs |= dict(zip(names, ys, strict=True))
        return torch.autograd.grad([outputs[name] for name in grads], wanted, list(grads.values()))

    def theirs() -> tuple[torch.Tensor, ...]:
        outputs = [named[name](wide if name == "down" else x) for name in grads]
        return torch.autograd.grad(outputs, wanted, list(grads.values()))

    for left, right in zip(ours(), theirs(), strict=True):  # a race between the same results
        assert (left - right).norm() <= 2e-2 * right.norm()
    return race(ours, theirs, rounds, time.process_time)


def small(layer: Any, rows: int, rounds: int) -> dict[str, Any]:
    q, base = packed(layer), layer.base_layer
    x = torch.randn(rows, q.shape[1], dtype=base.compute_dtype)
    with torch.no_grad():
        return race(lambda: nf4_matmul_small(x, q), lambda: base(x), 5 * rounds, time.process_time)


def main() -> None:
    """Run all, print a table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, no figures to quote")
    parser.add_argument("--out", type=Path, help="another file than benches/results/qlora.json")
    options = parser.parse_args()
    kernels = {row.op: row.cpu for row in table().rows}
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__, "kernels": kernels}
    for model, shape in DECODERS.items():
        for dtype in (torch.float32, torch.bfloat16):
            kind = str(dtype).removeprefix("torch.")
            layers = layers_of(*shape, dtype)
            for rows in (1, 8):
                results[f"nf4_matmul_small/{model}/{rows}_rows/{kind}"] = small(layers.gate, rows, 3)
            for rows in (512, 2048):
                # On a CPU without bfloat16 units torch takes minutes for what is seconds here.
                rounds = 2 if options.quick or dtype == torch.bfloat16 else 7
                results[f"qlora_linear/{model}/{rows}_rows/{kind}"] = linears(layers, rows, dtype, rounds)
    ratios = []
    for name, row in results.items():
        if isinstance(row, dict) and "ratio" in row:
            low, high = row["ratio_quartiles"]
            print(
                f"{name:50} {row['ours_ms']:10.2f} ms {row['theirs_ms']:10.2f} ms   x{row['ratio']:.2f} ({low:.2f}-{high:.2f})"
            )
            ratios += [row["ratio"]] if name.startswith("qlora_linear") else []
    print(f"qlora_linear, geometric mean: x{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")
    if not options.quick:
        keep("qlora", results, target=options.out)


if __name__ == "__main__":
    main()
