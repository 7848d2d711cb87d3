"""The ops of fastft: each defined once in plain torch, served by a compiled kernel where there is one."""

from __future__ import annotations

from fastft.ops._load import LIBRARIES
from fastft.ops.linear_cross_entropy import IGNORE, linear_cross_entropy, token_log_probs
from fastft.ops.lora_linear import lora_linear
from fastft.ops.nf4 import NF4Weight, nf4_dequantize, nf4_quantize
from fastft.ops.s2_attention import s2_attention
from fastft.ops.table import Row, Table, table

__all__ = [
    "IGNORE",
    "LIBRARIES",
    "NF4Weight",
    "Row",
    "Table",
    "linear_cross_entropy",
    "lora_linear",
    "nf4_dequantize",
    "nf4_quantize",
    "s2_attention",
    "table",
    "token_log_probs",
]
