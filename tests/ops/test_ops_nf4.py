"""NF4: one definition, kernels that equal it bit for bit, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft.core.errors import ModelError
from fastft.ops import LIBRARIES, NF4Weight, nf4_dequantize, nf4_quantize
from fastft.ops import nf4 as definition


def random_weight(count: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(count, generator=generator) * 2.0 ** torch.randint(-8, 8, (count,), generator=generator)
    w[torch.rand(count, generator=generator) < 0.1] = 0.0
    if count >= 96:
        w[32:96] = 0.0  # covers a whole block of 32
    return w.to(dtype)


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(left.view(torch.uint8), right.view(torch.uint8))


@pytest.mark.parametrize("dtype", definition.DTYPES, ids=str)
@pytest.mark.parametrize("blocksize", [32, 64, 4096])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 31, 64, 65, 1000, 16385])
def test_every_tier_gives_the_bytes_of_the_definition(
    tier, poisoned, count: int, blocksize: int, dtype: torch.dtype
) -> None:
    w = random_weight(count, dtype, count)
    packed, absmax = torch.ops.fastft.nf4_quantize(w, blocksize)
    expected_packed, expected_absmax = definition._quantize_reference(w, blocksize)
    assert torch.equal(packed, expected_packed)
    assert same(absmax, expected_absmax)
    for wanted in definition.DTYPES:
        got = torch.ops.fastft.nf4_dequantize(packed, absmax, None, None, count, blocksize, wanted)
        expected = definition._dequantize_reference(packed, absmax, None, None, count, blocksize, wanted)
        assert same(got, expected)


@pytest.mark.parametrize("dtype", definition.DTYPES, ids=str)
def test_a_tier_decodes_any_stretch_of_weights(tier, dtype: torch.dtype) -> None:
    """What a product asks of it: from an odd weight to an odd weight, across blocks."""
    x = torch.eye(97, 97, dtype=torch.float32)
    q = nf4_quantize(random_weight(33 * 97, torch.float32, 7).view(33, 97).to(dtype), blocksize=32)
    got = torch.ops.fastft.nf4_matmul_small(x, [q.packed, q.absmax, q.nested, q.offset], 32, 33, None)
    assert torch.equal(got.t(), nf4_dequantize(q, torch.float32))


@pytest.mark.parametrize("dtype", definition.DTYPES, ids=str)
def test_every_tier_decodes_nested_scales_as_the_definition(tier, poisoned, dtype: torch.dtype) -> None:
    q = nf4_quantize(random_weight(64 * 700 + 5, torch.float32, 1))
    assert q.nested is not None
    got = nf4_dequantize(q, dtype)
    count = math.prod(q.shape)
    expected = definition._dequantize_reference(q.packed, q.absmax, q.nested, q.offset, count, 64, dtype)
    assert same(got, expected)


def test_every_tier_orders_values_that_are_not_finite_alike(tier) -> None:
    w = random_weight(640, torch.float32, 2)
    w[5], w[200], w[450] = math.nan, math.inf, -math.inf
    packed, absmax = torch.ops.fastft.nf4_quantize(w, 64)
    expected_packed, expected_absmax = definition._quantize_reference(w, 64)
    assert torch.equal(packed, expected_packed)
    assert torch.equal(absmax.isfinite(), expected_absmax.isfinite())


def test_half_floats_are_read_and_rounded_as_torch_does(tier) -> None:
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    every = every[every.isfinite()]
    _, absmax = torch.ops.fastft.nf4_quantize(every, 32)
    wide = torch.nn.functional.pad(every.float().abs(), (0, -every.numel() % 32)).view(-1, 32)
    assert torch.equal(absmax, wide.amax(1))
    scales = torch.cat(
        [2.0 ** torch.arange(-30, 17).float(), torch.rand(500, generator=torch.Generator().manual_seed(0)) * 1e-6]
    )
    packed = torch.arange(256, dtype=torch.uint8)[:16].repeat(scales.numel())
    packed = (packed << 4) | (packed ^ 5)
    for dtype in (torch.float16, torch.bfloat16):
        got = torch.ops.fastft.nf4_dequantize(packed, scales, None, None, packed.numel() * 2, 32, dtype)
        wide = torch.ops.fastft.nf4_dequantize(packed, scales, None, None, packed.numel() * 2, 32, torch.float32)
        assert same(got, wide.to(dtype))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 9),
    columns=st.integers(1, 130),
    transposed=st.booleans(),
    dtype=st.sampled_from(definition.DTYPES),
    blocksize=st.sampled_from(definition.BLOCKSIZES),
    double_quant=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_weight_comes_back_within_half_a_step(
    rows: int,
    columns: int,
    transposed: bool,
    dtype: torch.dtype,
    blocksize: int,
    double_quant: bool,
    seed: int,
) -> None:
    w = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).to(dtype)
    w = w.t() if transposed else w
    q = nf4_quantize(w, blocksize=blocksize, double_quant=double_quant)
    back = nf4_dequantize(q, torch.float32)
    assert back.shape == w.shape
    assert back.is_contiguous()
    assert q.packed.shape == ((w.numel() + 1) // 2, 1)
    if w.numel():
        # The widest gap between codes is 0.304 of the largest weight; nested scales add 1/64 of theirs.
        assert (back - w.float()).abs().max() <= w.float().abs().max() * (0.2 if double_quant else 0.153)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_refused(bad: float) -> None:
    w = torch.zeros(100)
    w[70] = bad
    with pytest.raises(ModelError, match="not finite"):
        nf4_quantize(w)


def test_other_dtypes_and_blocksizes_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        nf4_quantize(torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="blocksize is one of 32, 64"):
        nf4_quantize(torch.zeros(4), blocksize=48)
    with pytest.raises(ValueError, match="int8"):
        nf4_dequantize(nf4_quantize(torch.ones(4)), torch.int8)


def test_equal_scales_have_no_rounding_at_all() -> None:
    w = torch.ones(300, 64)
    q = nf4_quantize(w)
    assert q.absmax.eq(127).all()
    assert torch.equal(nf4_dequantize(q), w)


@pytest.mark.parametrize("double_quant", [True, False])
def test_a_state_dict_round_trips(double_quant: bool) -> None:
    q = nf4_quantize(
        torch.randn(33, 70, generator=torch.Generator().manual_seed(0)).bfloat16(), double_quant=double_quant
    )
    again = NF4Weight.from_state_dict(q.state_dict())
    assert again.shape == (33, 70)
    assert again.dtype == torch.bfloat16
    assert torch.equal(nf4_dequantize(again), nf4_dequantize(q))


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32, torch.uint8], ids=str)
def test_packed_bytes_are_read_from_any_storage_type(storage: torch.dtype) -> None:
    q = nf4_quantize(torch.randn(16, 64, generator=torch.Generator().manual_seed(0)))
    tensors = q.state_dict()
    again = NF4Weight.from_state_dict({**tensors, "": tensors[""].view(-1).view(storage)[:, None]})
    assert torch.equal(again.packed, q.packed)


def test_a_state_dict_whose_parts_do_not_fit_is_refused() -> None:
    tensors = nf4_quantize(torch.ones(64, 64)).state_dict()
    for key in ("", "absmax", "nested_absmax"):
        with pytest.raises(ModelError, match=r"of shape \(64, 64\) has 2048 bytes and 64 scales"):
            NF4Weight.from_state_dict({**tensors, key: torch.cat([tensors[key], tensors[key]])})


def test_a_state_dict_of_another_code_is_refused() -> None:
    tensors = nf4_quantize(torch.ones(64)).state_dict()
    with pytest.raises(ModelError, match="`quant_map` is not the map"):
        NF4Weight.from_state_dict({**tensors, "quant_map": torch.linspace(-1, 1, 16)})
    del tensors["absmax"]
    with pytest.raises(ModelError, match="lacks 'absmax'"):
        NF4Weight.from_state_dict(tensors)


def test_double_quant_takes_an_eighth_of_a_byte_less() -> None:
    w = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    bits = {flag: nf4_quantize(w, double_quant=flag).nbytes * 8 / w.numel() for flag in (True, False)}
    assert bits[False] == 4.5
    assert 4.12 < bits[True] < 4.13


def test_the_bytes_do_not_depend_on_the_number_of_threads() -> None:
    w = random_weight(3_000_001, torch.bfloat16, 0)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        q = nf4_quantize(w)
        results.append((q, nf4_dequantize(q)))
    torch.set_num_threads(before)
    for q, back in results[1:]:
        assert torch.equal(q.packed, results[0][0].packed)
        assert torch.equal(q.absmax, results[0][0].absmax)
        assert torch.equal(back, results[0][1])


def test_opcheck_passes_for_every_op() -> None:
    w = random_weight(1000, torch.float32, 0)
    q = nf4_quantize(w)
    absmax = torch.rand(16)
    for op, arguments in (
        (torch.ops.fastft.nf4_quantize.default, (w, 64)),
        (torch.ops.fastft.nf4_quantize_scales.default, (absmax, absmax.mean())),
        (
            torch.ops.fastft.nf4_dequantize.default,
            (q.packed, q.absmax, q.nested, q.offset, 1000, 64, torch.bfloat16),
        ),
    ):
        assert set(torch.library.opcheck(op, arguments).values()) == {"SUCCESS"}


def test_a_kernel_refuses_tensors_that_do_not_fit() -> None:
    if not LIBRARIES["cpu"].loaded:
        pytest.skip(f"no compiled ops: {LIBRARIES['cpu'].reason}")
    q = nf4_quantize(torch.ones(256), double_quant=False)
    for arguments in ((300, 64), (256, 32)):
        with pytest.raises(RuntimeError, match="nf4: "):
            torch.ops.fastft.nf4_dequantize(q.packed, q.absmax, None, None, *arguments, torch.float32)
