"""Linear layers over NF4 with low-rank updates: near the truth, whatever the shape, tier or thread."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft.ops import (
    dora_norm,
    lora_linear,
    lora_linears,
    nf4_dequantize,
    nf4_matmul_small,
    nf4_quantize,
    qlora_linear,
    row_squares,
)
from fastft.ops.nf4_matmul_small import LIMIT

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SCALE = 0.7


def inputs(m: int, n: int, k: int, r: int, dtype=torch.float32, seed: int = 0, double_quant: bool = True):
    """x, q, a, b, bias, dy; the weight has about the size of a trained one."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(m, k, generator=g).to(dtype).requires_grad_()
    q = nf4_quantize((torch.randn(n, k, generator=g) / max(1, k) ** 0.5).to(dtype), double_quant=double_quant)
    a = (torch.randn(r, k, generator=g) / max(1, k) ** 0.5).requires_grad_()
    b = torch.randn(n, r, generator=g).mul_(0.3).requires_grad_()
    return x, q, a, b, torch.randn(n, generator=g).to(dtype), torch.randn(m, n, generator=g).to(dtype)


def plain(x, w, a, b, bias, dy):
    """The definition, in the dtype that is given: y, dx, da, db."""
    x, a, b = (t.detach().clone().requires_grad_() for t in (x, a, b))
    y = torch.nn.functional.linear(x, w, bias) + SCALE * torch.nn.functional.linear(
        torch.nn.functional.linear(x, a.to(x.dtype)), b.to(x.dtype)
    )
    return (y.detach(), *torch.autograd.grad(y, (x, a, b), dy))


def ours(x, q, a, b, bias, dy):
    y = qlora_linear(x, q, a, b, SCALE, bias=bias)
    return (y.detach(), *torch.autograd.grad(y, (x, a, b), dy))


def assert_near_the_truth(got, x, q, a, b, bias, dy) -> None:
    """No further from float64 than twice the definition in its own dtype is."""
    wide = [t.double() for t in (x.detach(), nf4_dequantize(q, torch.float32), a.detach(), b.detach(), bias, dy)]
    truth = plain(*wide)
    own = plain(x, nf4_dequantize(q, x.dtype), a, b, bias, dy)
    for name, result, exact, definition in zip(("y", "dx", "da", "db"), got, truth, own, strict=True):
        assert result.shape == exact.shape
        error, allowed = (result.double() - exact).norm(), (definition.double() - exact).norm()
        floor = 4e-7 * exact.norm() + 1e-12  # of one or two sums the definition's happens to be near 0
        assert error <= 2 * allowed + floor, f"{name}: {error:.2e} against {allowed:.2e}"


SHAPES = [(1, 1, 1, 1), (5, 7, 9, 2), (17, 33, 65, 5), (64, 80, 128, 16), (97, 130, 300, 16), (200, 50, 576, 8)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_tier_is_near_the_truth(tier, poisoned, shape, dtype: torch.dtype) -> None:
    case = inputs(*shape, dtype)
    assert_near_the_truth(ours(*case), *case)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    m=st.integers(0, 70),
    n=st.integers(1, 150),
    k=st.integers(1, 300),
    r=st.integers(1, 64),
    dtype=st.sampled_from(DTYPES),
    double_quant=st.booleans(),
    transposed=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape_is_near_the_truth(m, n, k, r, dtype, double_quant, transposed, seed) -> None:
    x, q, a, b, bias, dy = inputs(m, n, k, r, dtype, seed, double_quant)
    if transposed:
        x = x.detach().t().contiguous().t().requires_grad_()
        dy = dy.t().contiguous().t()
    assert_near_the_truth(ours(x, q, a, b, bias, dy), x, q, a, b, bias, dy)


@pytest.mark.parametrize("blocksize", [32, 1024, 4096])
def test_blocks_may_cross_rows_and_strips(tier, poisoned, blocksize: int) -> None:
    x, _, a, b, bias, dy = inputs(40, 75, 333, 4)
    w = torch.randn(75, 333, generator=torch.Generator().manual_seed(5)) * 0.05
    w[3:20] = 0.0  # blocks of zeros
    q = nf4_quantize(w, blocksize=blocksize)
    assert_near_the_truth(ours(x, q, a, b, bias, dy), x, q, a, b, bias, dy)


def test_x_of_more_dimensions_and_with_strides_gives_the_same(tier) -> None:
    x, q, a, b, bias, dy = inputs(24, 40, 64, 4)
    expected = ours(x, q, a, b, bias, dy)
    deep = x.detach().view(2, 3, 4, 64).requires_grad_()
    got = ours(deep, q, a, b, bias, dy.view(2, 3, 4, 40))
    for left, right in zip(got, expected, strict=True):
        assert torch.equal(left.reshape(right.shape), right)
    spread = torch.zeros(24, 128)
    spread[:, ::2] = x.detach()
    got = ours(spread[:, ::2].requires_grad_(), q, a, b, bias, dy)
    assert all(torch.equal(left, right) for left, right in zip(got, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_bits_do_not_depend_on_the_threads_or_the_run(tier, dtype: torch.dtype) -> None:
    case = inputs(130, 300, 576, 16, dtype)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 5, 1):
        torch.set_num_threads(threads)
        results.append(ours(*case))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(left, right) for left, right in zip(other, results[0], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_bits_of_a_row_do_not_depend_on_the_others(tier, dtype: torch.dtype) -> None:
    x, q, a, b, bias, _ = inputs(150, 70, 320, 8, dtype)
    whole = qlora_linear(x, q, a, b, SCALE, bias=bias)
    assert torch.equal(qlora_linear(x[20:41], q, a, b, SCALE, bias=bias), whole[20:41])


def test_with_b_zero_the_base_comes_out_bit_for_bit(tier) -> None:
    x, q, a, b, bias, _ = inputs(30, 50, 130, 8)
    base = qlora_linear(x, q, a[:0], b[:, :0], SCALE, bias=bias)
    assert torch.equal(qlora_linear(x, q, a, torch.zeros_like(b), SCALE, bias=bias), base)


def test_x_is_left_as_it_was_and_only_it_and_the_narrow_product_are_saved() -> None:
    x, q, a, b, bias, dy = inputs(30, 50, 130, 8)
    before, held = x.detach().clone(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        y = qlora_linear(x, q, a, b, SCALE, bias=bias)
    torch.autograd.grad(y, (x, a, b), dy)
    assert torch.equal(x, before)
    known = {t.data_ptr() for t in (x, a, b, q.packed, q.absmax, q.nested, q.offset)}
    assert [tuple(t.shape) for t in held if t.data_ptr() not in known] == [(30, 8)]


@pytest.mark.parametrize("held", ["dense", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_group_is_its_members_one_by_one(tier, poisoned, held: str, dtype: torch.dtype) -> None:
    shapes = [(48, 4), (16, 4), (24, 7)]
    cases = [inputs(33, n, 96, r, dtype, seed=i) for i, (n, r) in enumerate(shapes)]
    x = cases[0][0]
    weights = [case[1] if held == "nf4" else nf4_dequantize(case[1]) for case in cases]
    a, b, bias, dy = ([case[i] for case in cases] for i in (2, 3, 4, 5))
    scales = [0.5, 1.0, 2.0]
    single = qlora_linear if held == "nf4" else lora_linear
    alone = [single(x, w, a[i], b[i], scales[i], bias=bias[i]) for i, w in enumerate(weights)]
    together = lora_linears(x, weights, a, b, scales, biases=bias)
    assert all(torch.equal(left, right) for left, right in zip(together, alone, strict=True))
    expected = torch.autograd.grad(alone, [x, *a, *b], dy)
    got = torch.autograd.grad(together, [x, *a, *b], dy)
    assert all(torch.equal(left, right) for left, right in zip(got[1:], expected[1:], strict=True))
    torch.testing.assert_close(got[0], expected[0], rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-2)


def test_an_output_of_a_group_that_nobody_uses_adds_nothing() -> None:
    cases = [inputs(9, 12, 20, 2, seed=i) for i in range(2)]
    x, a, b = cases[0][0], [c[2] for c in cases], [c[3] for c in cases]
    first, _ = lora_linears(x, [c[1] for c in cases], a, b, [SCALE, SCALE])
    alone = qlora_linear(x, cases[0][1], a[0], b[0], SCALE)
    got = torch.autograd.grad(first, [x, a[0], b[0], b[1]], cases[0][5])
    expected = torch.autograd.grad(alone, [x, a[0], b[0]], cases[0][5])
    for left, right in zip(got, expected, strict=False):
        torch.testing.assert_close(left, right)
    assert not got[3].any()


def test_float64_is_exact_enough_for_finite_differences() -> None:
    x, q, a, b, bias, _ = inputs(3, 5, 7, 2)
    x, a, b = (t.detach().double().requires_grad_() for t in (x, a, b))
    assert torch.autograd.gradcheck(lambda x, a, b: qlora_linear(x, q, a, b, SCALE, bias=bias.double()), (x, a, b))


def test_opcheck_passes_for_every_op() -> None:
    x, q, a, b, bias, dy = (t.detach() if isinstance(t, torch.Tensor) else t for t in inputs(10, 12, 20, 3))
    base = [q.packed, q.absmax, q.nested, q.offset]
    s, ds = torch.randn(10, 3), torch.randn(10, 3)
    ops = torch.ops.fastft
    for op, arguments in (
        (ops.lora_down.default, (x, a)),
        (ops.lora_bwd_dy.default, (dy, b, s, SCALE)),
        (ops.lora_bwd_x.default, (x, ds)),
        (ops.frozen_linear.default, (x, base, 64, bias, s, b, SCALE)),
        (ops.frozen_linear_bwd.default, ([dy, dy], base * 2, 64, [ds, ds], [a, a])),
        (ops.nf4_matmul_small.default, (x[:4], base, 64, 12, bias)),
        (
            ops.lora_linear.default,
            (x.clone().requires_grad_(), base, 64, [bias], [a.clone().requires_grad_()], [b], [SCALE]),
        ),
    ):
        assert set(torch.library.opcheck(op, arguments).values()) == {"SUCCESS"}, op


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 3, LIMIT, LIMIT + 1])
def test_a_few_rows_are_multiplied_without_dequantizing(tier, poisoned, rows: int, dtype: torch.dtype) -> None:
    for n, k in ((1, 1), (33, 65), (70, 576)):
        x, q, _, _, bias, _ = inputs(rows, n, k, 1, dtype)
        got = nf4_matmul_small(x.detach(), q, bias=bias)
        linear = torch.nn.functional.linear
        truth = linear(x.detach().double(), nf4_dequantize(q, torch.float32).double(), bias.double())
        own = linear(x.detach(), nf4_dequantize(q, dtype), bias)
        assert got.dtype == dtype
        assert (got - truth).norm() <= 2 * (own - truth).norm() + 1e-7 * truth.norm()


def test_what_does_not_fit_is_refused() -> None:
    x, q, a, b, bias, _ = inputs(4, 6, 8, 2)
    with pytest.raises(ValueError, match="do not fit together"):
        qlora_linear(x, q, a[:, :7], b, SCALE)
    with pytest.raises(ValueError, match=r"bias is \(6,\)"):
        qlora_linear(x, q, a, b, SCALE, bias=bias[:5])
    with pytest.raises(ValueError, match="held alike"):
        lora_linears(x, [q, nf4_dequantize(q)], [a, a], [b, b], [1.0, 1.0])
    with pytest.raises(ValueError, match="as many"):
        lora_linears(x, [q], [a], [b], [1.0, 2.0])
    with pytest.raises(ValueError, match="no backward pass"):
        nf4_matmul_small(x, q)
    with pytest.raises(ValueError, match="do not fit together"):
        nf4_matmul_small(x.detach()[:, :5], q)


def test_a_value_that_is_no_number_stays_visible(tier) -> None:
    x, q, a, b, bias, _ = inputs(8, 20, 64, 2, torch.bfloat16)
    x.data[3, 5], x.data[4, 6] = torch.nan, torch.inf
    y = qlora_linear(x, q, a, b, SCALE, bias=bias)
    assert y[3].isnan().all()
    assert not y[4].isfinite().any()
    assert y[[0, 1, 2, 5, 6, 7]].isfinite().all()


@pytest.mark.parametrize("held", ["dense", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dora_norms_are_those_of_the_adapted_weight(held: str, dtype: torch.dtype) -> None:
    for n, k, r in ((1, 1, 1), (65, 33, 5), (300, 100, 16)):
        _, q, a, b, _, _ = inputs(1, n, k, r, dtype)
        w = q if held == "nf4" else nf4_dequantize(q)
        wide = nf4_dequantize(q, torch.float32).double() if held == "nf4" else w.double()
        truth = (wide + SCALE * b.detach().double() @ a.detach().double()).norm(dim=1)
        got = dora_norm(w, a, b, SCALE, row_squares(w))
        assert not got.requires_grad
        torch.testing.assert_close(got.double(), truth, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="do not fit together"):
        dora_norm(w, a[:, 1:], b, SCALE, row_squares(w))


def test_it_compiles_into_one_graph() -> None:
    x, q, a, b, bias, dy = inputs(20, 12, 64, 4)
    expected = ours(x, q, a, b, bias, dy)
    compiled = torch.compile(
        lambda x, a, b: qlora_linear(x, q, a, b, SCALE, bias=bias) * 2.0, fullgraph=True, backend="aot_eager"
    )
    y = compiled(x, a, b)
    got = (y, *torch.autograd.grad(y, (x, a, b), dy))
    for left, right in zip(got, expected, strict=True):
        torch.testing.assert_close(left, right * 2.0)
