"""The ops of fastft: each defined once in plain torch, served by a compiled kernel where there is one."""

from __future__ import annotations

from fastft.ops._load import LIBRARIES
from fastft.ops.dora_norm import dora_norm, row_squares
from fastft.ops.linear_cross_entropy import IGNORE, linear_cross_entropy, token_log_probs
from fastft.ops.lora_linear import lora_linear, lora_linears, qlora_linear
from fastft.ops.nf4 import NF4Weight, nf4_dequantize, nf4_quantize
from fastft.ops.nf4_matmul_small import nf4_matmul_small
from fastft.ops.rms_norm import rms_norm
from fastft.ops.rope import rope
from fastft.ops.s2_attention import s2_attention
from fastft.ops.swiglu import swiglu
from fastft.ops.table import Row, Table, table

__all__ = [
    "IGNORE",
    "LIBRARIES",
    "NF4Weight",
    "Row",
    "Table",
    "dora_norm",
    "linear_cross_entropy",
    "lora_linear",
    "lora_linears",
    "nf4_dequantize",
    "nf4_matmul_small",
    "nf4_quantize",
    "qlora_linear",
    "rms_norm",
    "rope",
    "row_squares",
    "s2_attention",
    "swiglu",
    "table",
    "token_log_probs",
]
