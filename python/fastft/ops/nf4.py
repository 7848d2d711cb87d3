"""NF4: weights in four bits, in the layout of bitsandbytes, bit for bit.

    a = max|w| over a block,  u = fl(w * fl(1 / a)),  index = number of thresholds below u
    w' = fl(code[index] * a), rounded once to the dtype that is asked for

Blocks run over the weights in row-major order and may cross rows. Two indices lie in a byte, the
first in the high half. With `double_quant` the scales a are themselves held in eight bits:
a' = fl(fl(map[q] * a2) + offset), with blocks of 256 scales sharing a2, two roundings.
Dettmers et al. 2023, https://arxiv.org/abs/2305.14314.

Where the CPU and the CUDA code of bitsandbytes differ, this is the CUDA rule on every device: a block
of zeros has index 0 (it decodes to -0.0), and a scale that lies between two entries of the map is
searched by halving, not through a table. The offset is the mean of the scales rounded from
float64, so it does not depend on the number of threads; it is stored, never computed again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fastft.core.errors import ModelError
from fastft.ops._library import define

BLOCKSIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NESTED_BLOCKSIZE = 256

# fmt: off
_CODES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
# fmt: on


@dataclass(frozen=True)
class NF4Weight:
    """A weight in four bits.

    Attributes:
        packed: ((count + 1) // 2, 1) uint8, two indices a byte.
        absmax: (blocks,) float32, or uint8 indices into the dynamic map when `nested` is there.
        nested: (ceil(blocks / 256),) float32 or None, the scales of the scales.
        offset: () float32 or None, the mean of the scales.
        shape: of the weight.
        dtype: of the weight before it was quantized; bitsandbytes decodes to it.
        blocksize: weights that share a scale.
    """

    packed: Tensor
    absmax: Tensor
    nested: Tensor | None
    offset: Tensor | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    blocksize: int

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = (self.packed, self.absmax, self.nested, self.offset)
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    def to(self, device: torch.device | str) -> NF4Weight:
        """The same weight on another device."""
        return replace(
            self,
            packed=self.packed.to(device),
            absmax=self.absmax.to(device),
            nested=None if self.nested is None else self.nested.to(device),
            offset=None if self.offset is None else self.offset.to(device),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """What bitsandbytes stores beside the packed weight, under its keys; `packed` itself goes under `""`.

        A layer prefixes each key with the weight's name: `weight`, `weight.absmax`, and so on.
        """
        state: dict[str, Any] = {
            "quant_type": "nf4",
            "blocksize": self.blocksize,
            "dtype": str(self.dtype).removeprefix("torch."),
            "shape": list(self.shape),
        }
        tensors = {"": self.packed, "absmax": self.absmax, "quant_map": codes(self.packed.device)}
        if self.nested is not None and self.offset is not None:
            state |= {
                "nested_blocksize": NESTED_BLOCKSIZE,
                "nested_dtype": "float32",
                "nested_offset": self.offset.item(),
            }
            tensors |= {"nested_absmax": self.nested, "nested_quant_map": dynamic_map(self.packed.device)}
        packed_json = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8).clone()
        return tensors | {"quant_state.bitsandbytes__nf4": packed_json}

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> NF4Weight:
        """The weight stored under the keys of `state_dict`.

        Raises:
            ModelError: when a key is missing, or the weight is not NF4 over the maps known here.
        """
        try:
            state = json.loads(bytes(tensors["quant_state.bitsandbytes__nf4"].tolist()))
            # Other storage types (bitsandbytes' `quant_storage`) are views of the same bytes.
            packed = tensors[""].contiguous().view(-1).view(torch.uint8)[:, None]
            nested = offset = None
            _same_map(tensors["quant_map"], codes(packed.device), "quant_map")
            if "nested_absmax" in tensors:
                _same_map(tensors["nested_quant_map"], dynamic_map(packed.device), "nested_quant_map")
                if state["nested_blocksize"] != NESTED_BLOCKSIZE:
                    raise ModelError(f"nested blocks hold {NESTED_BLOCKSIZE} scales, not {state['nested_blocksize']}")
                nested = tensors["nested_absmax"].float()
                offset = torch.tensor(state["nested_offset"], dtype=torch.float32, device=packed.device)
            return cls(
                packed=_fitting(packed, state, tensors["absmax"], nested),
                absmax=tensors["absmax"] if nested is not None else tensors["absmax"].float(),
                nested=nested,
                offset=offset,
                shape=tuple(state["shape"]),
                dtype=getattr(torch, state["dtype"]),  # a dtype's name, as bitsandbytes stores it
                blocksize=state["blocksize"],
            )
        except KeyError as missing:
            raise ModelError(f"an NF4 weight lacks {missing}") from None


def nf4_quantize(w: Tensor, *, blocksize: int = 64, double_quant: bool = True) -> NF4Weight:
    """Quantize a weight.

    Args:
        w: any shape, float32, bfloat16 or float16.
        blocksize: weights that share a scale, one of `BLOCKSIZES`.
        double_quant: hold the scales in eight bits: 4.13 instead of 4.5 bits a weight.

    Raises:
        ValueError: for another dtype or blocksize.
        ModelError: when a weight is not finite.
    """
    if w.dtype not in DTYPES:
        raise ValueError(f"nf4 is for float32, bfloat16 and float16, not {w.dtype}")
    if blocksize not in BLOCKSIZES:
        raise ValueError(f"blocksize is one of {', '.join(map(str, BLOCKSIZES))}, not {blocksize}")
    packed, absmax = _quantize(w, blocksize)
    if not bool(torch.isfinite(absmax).all()):
        raise ModelError("a weight is not finite, so it can't be quantized", hint="check the checkpoint it came from")
    nested = offset = None
    if double_quant:
        # A weight without elements has no mean.
        offset = absmax.double().mean().float() if absmax.numel() else absmax.new_zeros(())
        absmax, nested = _quantize_scales(absmax, offset)
    return NF4Weight(packed, absmax, nested, offset, tuple(w.shape), w.dtype, blocksize)


def nf4_dequantize(q: NF4Weight, dtype: torch.dtype | None = None) -> Tensor:
    """The weight again.

    Args:
        q: what `nf4_quantize` or `NF4Weight.from_state_dict` gave.
        dtype: float32, bfloat16 or float16; by default that of the weight before.
    """
    dtype = dtype or q.dtype
    if dtype not in DTYPES:
        raise ValueError(f"nf4 is for float32, bfloat16 and float16, not {dtype}")
    return dequantize_parts(q.packed, q.absmax, q.nested, q.offset, math.prod(q.shape), q.blocksize, dtype).view(
        q.shape
    )


def dequantize_parts(
    packed: Tensor,
    absmax: Tensor,
    nested: Tensor | None,
    offset: Tensor | None,
    count: int,
    blocksize: int,
    dtype: torch.dtype,
) -> Tensor:
    """The `count` weights of what an `NF4Weight` holds, flat; for ops, which take tensors only."""
    flat: Tensor = _dequantize(packed, absmax, nested, offset, count, blocksize, dtype)
    return flat


def codes(device: torch.device | str = "cpu") -> Tensor:
    """The 16 values of NF4, (16,) float32, rising."""
    return torch.tensor(_CODES, dtype=torch.float32, device=device)


def thresholds(device: torch.device | str = "cpu") -> Tensor:
    """Midpoints of neighbouring codes, (15,) float32."""
    wide = codes(device).double()
    return ((wide[:-1] + wide[1:]) / 2).float()


def dynamic_map(device: torch.device | str = "cpu") -> Tensor:
    """The signed dynamic map for scales, (256,) float32, rising; zero is entry 127.

    Dettmers et al. 2021, https://arxiv.org/abs/2110.02861.
    """
    values = [0.0, 1.0]
    for exponent in range(7):
        bounds = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        middles = 10 ** (exponent - 6) * ((bounds[:-1] + bounds[1:]) / 2)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values), dtype=torch.float32, device=device)


def _fitting(packed: Tensor, state: Mapping[str, Any], absmax: Tensor, nested: Tensor | None) -> Tensor:
    """The packed bytes, when there are as many of them and of the scales as the shape asks for."""
    if state["quant_type"] != "nf4" or state["blocksize"] not in BLOCKSIZES:
        raise ModelError(f"an NF4 weight is not `{state['quant_type']}` with blocks of {state['blocksize']}")
    count = math.prod(state["shape"])
    blocks = -(-count // state["blocksize"])
    wanted = ((count + 1) // 2, blocks, None if nested is None else -(-blocks // NESTED_BLOCKSIZE))
    found = (packed.numel(), absmax.numel(), None if nested is None else nested.numel())
    if found != wanted:
        raise ModelError(
            f"an NF4 weight of shape {tuple(state['shape'])} has {wanted[0]} bytes and {wanted[1]} scales, "
            f"not {found[0]} and {found[1]}",
            hint="the file is damaged, or its keys belong to different weights",
        )
    return packed


def _same_map(found: Tensor, ours: Tensor, name: str) -> None:
    if not torch.equal(found.float(), ours):
        raise ModelError(f"`{name}` is not the map of bitsandbytes' NF4")


def _blocks(values: Tensor, size: int) -> Tensor:
    """(n,) as (ceil(n / size), size), filled up with zeros."""
    return torch.nn.functional.pad(values, (0, -values.numel() % size)).view(-1, size)


def _quantize_reference(w: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    count = w.numel()
    wide = _blocks(w.reshape(-1).float(), blocksize)
    absmax = wide.abs().amax(dim=1) if count else wide.new_empty(0)
    u = (wide * (1.0 / absmax)[:, None]).view(-1)[:count]
    index = torch.zeros(count + count % 2, dtype=torch.uint8, device=w.device)
    for threshold in thresholds(w.device):  # a comparison with nan (a block of zeros) counts as below
        index[:count] += u > threshold
    if count % 2:
        index[-1] = 7
    return (index[0::2] << 4 | index[1::2])[:, None], absmax


def _quantize_fake(w: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    count = w.numel()
    return (
        w.new_empty(((count + 1) // 2, 1), dtype=torch.uint8),
        w.new_empty(((count + blocksize - 1) // blocksize,), dtype=torch.float32),
    )


def _quantize_scales_reference(absmax: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    table = dynamic_map(absmax.device)
    difference = absmax - offset
    blocks = _blocks(difference, NESTED_BLOCKSIZE)
    nested = blocks.abs().amax(dim=1) if blocks.numel() else blocks.new_empty(0)
    u = (blocks * (1.0 / nested)[:, None]).view(-1)[: absmax.numel()]
    u = torch.where(difference == 0, 0.0, u)  # equal scales: 0 / 0
    at = torch.full_like(u, 127, dtype=torch.int64)
    low, high = torch.zeros_like(at), torch.full_like(at, 255)
    for step in (64, 32, 16, 8, 4, 2, 1):
        above = u > table[at]
        low, high = torch.where(above, at, low), torch.where(above, high, at)
        at = torch.where(above, at + step, at - step)
    above = u > table[at]
    other = torch.where(above, high, low)
    middle = (table[other] + table[at]) * 0.5
    nearer = torch.where(above, u > middle, u < middle)
    return torch.where(nearer, other, at).to(torch.uint8), nested


def _quantize_scales_fake(absmax: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    blocks = absmax.numel()
    return (
        absmax.new_empty((blocks,), dtype=torch.uint8),
        absmax.new_empty(((blocks + NESTED_BLOCKSIZE - 1) // NESTED_BLOCKSIZE,)),
    )


def _dequantize_reference(
    packed: Tensor,
    absmax: Tensor,
    nested: Tensor | None,
    offset: Tensor | None,
    count: int,
    blocksize: int,
    dtype: torch.dtype,
) -> Tensor:
    if nested is not None and offset is not None:
        wide = dynamic_map(packed.device)[absmax.long()]
        absmax = (_blocks(wide, NESTED_BLOCKSIZE) * nested[:, None]).view(-1)[: absmax.numel()] + offset
    byte = packed.view(-1)
    index = torch.stack((byte >> 4, byte & 15), dim=1).view(-1)[:count].long()
    values = _blocks(codes(packed.device)[index], blocksize) * absmax[:, None]
    return values.view(-1)[:count].to(dtype)


def _dequantize_fake(
    packed: Tensor,
    absmax: Tensor,
    nested: Tensor | None,
    offset: Tensor | None,
    count: int,
    blocksize: int,
    dtype: torch.dtype,
) -> Tensor:
    return packed.new_empty((count,), dtype=dtype)


_quantize = define(
    "nf4_quantize(Tensor w, int blocksize) -> (Tensor, Tensor)", reference=_quantize_reference, fake=_quantize_fake
)
_quantize_scales = define(
    "nf4_quantize_scales(Tensor absmax, Tensor offset) -> (Tensor, Tensor)",
    reference=_quantize_scales_reference,
    fake=_quantize_scales_fake,
)
_dequantize = define(
    "nf4_dequantize(Tensor packed, Tensor absmax, Tensor? nested, Tensor? offset, int count, int blocksize, "
    "ScalarType dtype) -> Tensor",
    reference=_dequantize_reference,
    fake=_dequantize_fake,
)
