"""Named tensors as a safetensors file, written piece by piece.

The library's own `save_file` needs a second copy in memory or hides its system calls; the
format is 8 bytes of header length, a JSON header and the raw bytes, so it is written here, with the
hashes taken on the way. Reading is the library's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_PIECE = 1 << 26
"""Bytes of one write: large enough to be fast, small enough to be copied from a GPU in turn."""

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file that holds `tensors`, in order.

    Raises:
        TypeError: for a dtype that the format can't hold.
    """
    header: dict[str, object] = {}
    place = 0
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _NAMES:
            raise TypeError(f"`{name}` is {tensor.dtype}, which safetensors can't hold")
        end = place + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for tensor in tensors.values():
        yield from _raw(tensor)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)


def _raw(tensor: Tensor) -> Iterator[memoryview]:
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    step = max(1, _PIECE // max(1, flat.element_size()))
    for start in range(0, flat.numel(), step):
        piece = flat[start : start + step].cpu().contiguous()
        yield piece.view(torch.uint8).numpy().data
