"""NF4 against bitsandbytes: the same bytes, the same values."""

from __future__ import annotations

import pytest
import torch

from fastft.ops import NF4Weight, nf4_dequantize, nf4_quantize
from fastft.ops.nf4 import BLOCKSIZES, DTYPES, codes, dynamic_map

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def bnb():
    return pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not installed")


def values_by_block(packed: torch.Tensor, count: int) -> torch.Tensor:
    return torch.stack((packed.view(-1) >> 4, packed.view(-1) & 15), 1).view(-1)[:count]


def edge_weights(dtype: torch.dtype) -> torch.Tensor:
    """Ties on thresholds, magnitudes from subnormal to largest, repeated and single values."""
    info = torch.finfo(dtype)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(64, 64, generator=generator)
    middles = (codes()[:-1] + codes()[1:]) / 2
    ties = torch.cat([codes(), middles, middles.nextafter(torch.tensor(1.0)), middles.nextafter(torch.tensor(-1.0))])
    blocks = [
        torch.cat([ties, torch.ones(3)]).to(dtype),
        *(noise[i].mul(2.0**power).to(dtype) for i, power in enumerate(range(-30, 12, 4))),
        torch.full((64,), info.tiny).to(dtype),
        (noise[40] / noise[40].abs().max() * (info.max * 0.99)).to(dtype),
        torch.full((64,), -3.0).to(dtype),
        torch.eye(64)[5].to(dtype) * -0.25,
    ]
    return torch.cat([block for block in blocks if block.any()])  # zeros have a test of their own


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_packed_byte_differs_on_millions_of_weights(bnb, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.cat([torch.randn(3_400_000, generator=generator).mul(0.02).to(dtype), edge_weights(dtype)])
    ours = nf4_quantize(w, double_quant=False)
    theirs, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=False)
    assert (ours.packed != theirs).sum() == 0
    assert torch.equal(ours.absmax, state.absmax)
    assert torch.equal(nf4_dequantize(ours, dtype), bnb.dequantize_4bit(theirs, state).view(-1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("blocksize", BLOCKSIZES)
def test_every_blocksize_agrees_where_blocks_cross_rows(bnb, dtype: torch.dtype, blocksize: int) -> None:
    w = torch.randn(37, 302, generator=torch.Generator().manual_seed(blocksize)).to(dtype)
    ours = nf4_quantize(w, blocksize=blocksize, double_quant=False)
    theirs, state = bnb.quantize_4bit(w, blocksize=blocksize, quant_type="nf4")
    assert torch.equal(ours.packed, theirs)
    assert torch.equal(nf4_dequantize(ours), bnb.dequantize_4bit(theirs, state))


@pytest.mark.parametrize("count", [1, 63, 65, 127, 4097])
def test_odd_sizes_agree(bnb, count: int) -> None:
    w = torch.randn(count, generator=torch.Generator().manual_seed(count))
    theirs, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
    ours = nf4_quantize(w, double_quant=False)
    assert torch.equal(ours.packed, theirs)
    assert torch.equal(nf4_dequantize(ours), bnb.dequantize_4bit(theirs, state))


def test_blocks_of_zeros_are_index_zero_as_on_cuda_and_equal_by_value(bnb) -> None:
    w = torch.zeros(4, 64)
    w[1] = torch.randn(64, generator=torch.Generator().manual_seed(0))
    ours = nf4_quantize(w, double_quant=False)
    theirs, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
    assert values_by_block(ours.packed, 256)[:64].eq(0).all()  # bitsandbytes' CPU code writes 7 here
    assert torch.equal(ours.packed[32:64], theirs[32:64])
    assert torch.equal(nf4_dequantize(ours), bnb.dequantize_4bit(theirs, state))


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bitsandbytes_reads_what_we_write(bnb, dtype: torch.dtype, double_quant: bool) -> None:
    w = torch.randn(300, 130, generator=torch.Generator().manual_seed(3)).to(dtype)
    ours = nf4_quantize(w, double_quant=double_quant)
    tensors = ours.state_dict()
    packed = tensors.pop("")
    state = bnb.QuantState.from_dict(tensors, device=torch.device("cpu"))
    assert torch.equal(bnb.dequantize_4bit(packed, state), nf4_dequantize(ours))


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_we_read_what_bitsandbytes_writes(bnb, dtype: torch.dtype, double_quant: bool) -> None:
    w = torch.randn(512, 130, generator=torch.Generator().manual_seed(4)).to(dtype)
    packed, state = bnb.quantize_4bit(w, quant_type="nf4", compress_statistics=double_quant)
    ours = NF4Weight.from_state_dict({"": packed, **state.as_dict(packed=True)})
    for wanted in DTYPES:
        expected = bnb.dequantize_4bit(packed, state) if wanted == dtype else None
        got = nf4_dequantize(ours, wanted)
        assert expected is None or torch.equal(got, expected)


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_we_read_what_bitsandbytes_stores_as_other_types(bnb, storage: torch.dtype) -> None:
    w = torch.randn(128, 64, generator=torch.Generator().manual_seed(8))
    packed, state = bnb.quantize_4bit(w, quant_type="nf4", compress_statistics=True, quant_storage=storage)
    assert packed.dtype == storage
    ours = NF4Weight.from_state_dict({"": packed, **state.as_dict(packed=True)})
    assert torch.equal(nf4_dequantize(ours), bnb.dequantize_4bit(packed, state))


def test_the_dynamic_map_is_that_of_bitsandbytes(bnb) -> None:
    assert torch.equal(dynamic_map(), bnb.create_dynamic_map())


def test_scales_take_the_nearest_entry_of_the_map_and_rarely_differ_from_the_table(bnb) -> None:
    # On a CPU bitsandbytes quantizes scales through a table of 64k buckets, on CUDA by search; ours is the search.
    absmax = torch.rand(16384, generator=torch.Generator().manual_seed(5)).mul(0.01).add(0.02)
    offset = absmax.mean()
    ours, nested = torch.ops.fastft.nf4_quantize_scales(absmax, offset)
    theirs, state = bnb.quantize_blockwise(absmax - offset, blocksize=256)
    assert torch.equal(nested, state.absmax)
    assert (ours.int() - theirs.int()).abs().max() <= 2
    assert (ours != theirs).float().mean() < 0.005
    u = (absmax - offset).view(-1, 256) * (1.0 / nested)[:, None]
    distance = (u.view(-1, 1).double() - dynamic_map().double()).abs()
    chosen = distance.gather(1, ours.long()[:, None]).squeeze(1)
    assert (chosen - distance.amin(dim=1)).max() < 1e-7


def test_weights_after_double_quant_are_as_close_as_those_of_bitsandbytes(bnb) -> None:
    w = torch.randn(1024, 256, generator=torch.Generator().manual_seed(6))
    packed, state = bnb.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
    theirs = (bnb.dequantize_4bit(packed, state) - w).norm()
    assert (nf4_dequantize(nf4_quantize(w)) - w).norm() <= theirs * 1.0001
