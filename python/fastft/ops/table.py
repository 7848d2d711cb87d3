"""Which kernel serves which op on this machine, for `fastft doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fastft.ops._load import LIBRARIES, Library, cpu_tier

KERNELS = (
    "nf4_quantize",
    "nf4_quantize_scales",
    "nf4_dequantize",
    "nf4_matmul_small",
    "lora_down",
    "lora_bwd_dy",
    "lora_bwd_x",
    "frozen_linear",
    "frozen_linear_bwd",
    "s2_attention",
    "s2_attention_backward",
    "rms_norm",
    "rms_norm_backward",
    "swiglu",
    "swiglu_backward",
    "rope",
)
"""Ops with kernels of our own."""
VARLEN = ("s2_attention", "s2_attention_backward")
"""Those for which, in half precision, torch's `varlen_attn` serves on CUDA."""
COMPOSITES = ("linear_cross_entropy", "lora_linear")
"""Ops made of others, or of torch's matrix products, the same on every device."""


@dataclass(frozen=True)
class Row:
    """One op.

    Attributes:
        op: its name below `torch.ops.fastft`.
        cpu: `avx512`, `avx2` or `generic`; `reference` where that is missing; `torch` for a composite.
        cuda: `cuda`, `reference` or `torch`; None where torch finds no CUDA device.
    """

    op: str
    cpu: str
    cuda: str | None


@dataclass(frozen=True)
class Table:
    """All ops, and the libraries that were looked for."""

    rows: tuple[Row, ...]
    libraries: tuple[Library, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for `--json`."""
        return {
            "ops": [{"op": row.op, "cpu": row.cpu, "cuda": row.cuda} for row in self.rows],
            "libraries": [
                {
                    "name": library.name,
                    "loaded": library.loaded,
                    "reason": library.reason,
                    "hint": library.hint,
                    "build": library.build,
                }
                for library in self.libraries
            ],
        }


def table() -> Table:
    """Ask the dispatcher which kernel answers each op."""
    return Table(tuple(_row(op) for op in KERNELS + COMPOSITES), tuple(LIBRARIES.values()))


def _row(op: str) -> Row:
    present = torch.cuda.is_available()
    if op in COMPOSITES:
        return Row(op, "torch", "torch" if present else None)
    cuda = "cuda" if has_kernel(op, "CUDA") else "torch" if op in VARLEN else "reference"
    return Row(op, _cpu(op), cuda if present else None)


def _cpu(op: str) -> str:
    if not has_kernel(op, "CPU"):
        return "reference"
    # The scales are a hundredth of the work, so they have the plain loops only.
    return "generic" if op == "nf4_quantize_scales" else current_cpu_tier()


def current_cpu_tier() -> str:
    """The tier of CPU kernels in use, `reference` without the library."""
    return cpu_tier() if LIBRARIES["cpu"].loaded else "reference"


def has_kernel(op: str, key: str) -> bool:
    """Whether a compiled kernel serves an op under a dispatch key, `CPU` or `CUDA`."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"fastft::{op}", key)  # no public way asks
