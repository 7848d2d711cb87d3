"""The ops of fastft: each defined once in plain torch, served by a compiled kernel where there is one."""

from __future__ import annotations

from fastft.ops.linear_cross_entropy import IGNORE, linear_cross_entropy, token_log_probs
from fastft.ops.lora_linear import lora_linear

__all__ = [
    "IGNORE",
    "linear_cross_entropy",
    "lora_linear",
    "token_log_probs",
]
