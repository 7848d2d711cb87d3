"""RMS norm, SwiGLU and rotary positions against their definitions, transformers' modules and float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from fastft.ops import rms_norm, rope, swiglu

F = torch.nn.functional
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def make(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def angles(tokens, width, batch=1, dtype=torch.float64):
    turns = make(batch, tokens, width // 2, seed=7) * 3
    both = torch.cat((turns, turns), dim=-1)
    return both.cos().to(dtype), both.sin().to(dtype)


def plain_norm(x, weight, eps=1e-5):
    return torch.func.functional_call(LlamaRMSNorm(weight.shape[0], eps=eps), {"weight": weight}, (x,))


def error(got, truth):
    return float((got.detach().double() - truth.detach()).norm() / truth.detach().norm().clamp_min(1e-30))


def outcome(function, inputs, *rest):
    """The results and the gradients of the inputs, for a gradient that is no constant."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    results = function(*inputs, *rest)
    results = results if isinstance(results, tuple) else (results,)
    above = [make(*r.shape, seed=90 + i).to(r.dtype) for i, r in enumerate(results)]
    return [*results, *torch.autograd.grad(results, inputs, above)]


CASES = {
    "rms_norm": (
        lambda x, w: rms_norm(x, w, eps=1e-5),
        lambda x, w: x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w,
        plain_norm,
        lambda: (make(37, 70), make(70, seed=1)),
        lambda dtype: (),
    ),
    "swiglu": (
        swiglu,
        lambda g, u: F.silu(g) * u,
        lambda g, u: F.silu(g) * u,
        lambda: (make(9, 71) * 4, make(9, 71, seed=1)),
        lambda dtype: (),
    ),
    "rope": (
        rope,
        apply_rotary_pos_emb,
        apply_rotary_pos_emb,
        lambda: (make(2, 4, 13, 24), make(2, 1, 13, 24, seed=1)),
        lambda dtype: angles(13, 24, 2, dtype),
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", CASES)
def test_it_is_no_further_from_the_truth_than_twice_the_usual_way(tier, poisoned, op, dtype) -> None:
    ours, truth, usual, inputs, rest = CASES[op]
    low = [x.to(dtype) for x in inputs()]
    exact = outcome(truth, [x.double() for x in low], *(x.double() for x in rest(dtype)))
    got, known = outcome(ours, low, *rest(dtype)), outcome(usual, low, *rest(dtype))
    for mine, theirs, true in zip(got, known, exact, strict=True):
        assert mine.dtype == dtype
        assert error(mine, true) <= 2 * error(theirs, true) + torch.finfo(dtype).eps / 4


@pytest.mark.parametrize("op", CASES)
def test_gradients_are_those_of_finite_differences(tier, op) -> None:
    ours, _, _, inputs, rest = CASES[op]
    small = {
        "rms_norm": lambda: [make(3, 5), make(5, seed=1)],
        "swiglu": lambda: [x[:3, :4].clone() for x in inputs()],
        "rope": lambda: [x[:, :, :4].clone() for x in inputs()],
    }[op]()
    small = [x.requires_grad_() for x in small]
    more = [x[:, :4] for x in rest(torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: ours(*x, *more), small)


def test_gemmas_norm_is_offset_by_one(tier) -> None:
    module = Gemma3RMSNorm(40, eps=1e-6)
    module.weight.data = make(40, dtype=torch.float32)
    x = make(5, 40, seed=1, dtype=torch.float32)
    torch.testing.assert_close(rms_norm(x, module.weight, eps=1e-6, offset=1.0), module(x))


def test_values_at_the_ends_are_right(tier) -> None:
    gate = torch.tensor([-200.0, -100.0, -87.5, -1e-30, 0.0, 1e-30, 87.5, 100.0, 200.0, torch.inf, torch.nan])
    got = swiglu(gate, torch.ones_like(gate))
    torch.testing.assert_close(got, F.silu(gate), rtol=1e-6, atol=1e-35, equal_nan=True)
    assert torch.equal(rms_norm(torch.zeros(2, 3), torch.ones(3)), torch.zeros(2, 3))
    assert bool(rms_norm(torch.tensor([[torch.nan, 1.0]]), torch.ones(2)).isnan().all())


@given(
    rows=st.integers(0, 300), width=st.integers(1, 70), half=st.integers(1, 20), heads=st.integers(1, 5), data=st.data()
)
@settings(max_examples=40, deadline=None)
def test_any_shape_and_any_strides(rows: int, width: int, half: int, heads: int, data: st.DataObject) -> None:
    x = make(width, rows, dtype=torch.float32).t()  # columns apart
    w = make(width, dtype=torch.float32)
    for got, want in zip(
        outcome(lambda x, w: rms_norm(x, w, eps=1e-5), [x, w]), outcome(plain_norm, [x, w]), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=2e-4, atol=2e-4)
    both = make(rows, 2 * width, dtype=torch.float32)
    gate, up = both.chunk(2, dim=1)
    torch.testing.assert_close(swiglu(gate, up), F.silu(gate) * up, rtol=1e-5, atol=1e-6)
    tokens, batch = rows % 17, data.draw(st.integers(1, 3))
    q = make(batch, tokens, heads, 2 * half, dtype=torch.float32).transpose(1, 2)
    k = make(batch, 1, tokens, 2 * half, dtype=torch.float32)
    turned = angles(tokens, 2 * half, data.draw(st.sampled_from([1, batch])), torch.float32)
    for got, want in zip(rope(q, k, *turned), apply_rotary_pos_emb(q, k, *turned), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", CASES)
def test_the_bits_do_not_depend_on_the_threads(op) -> None:
    ours, _, _, _, _ = CASES[op]
    inputs = {
        "rms_norm": [make(700, 129, dtype=torch.float32), make(129, dtype=torch.float32)],
        "swiglu": [make(300, 333, dtype=torch.float32), make(300, 333, seed=1, dtype=torch.float32)],
        "rope": [make(2, 3, 301, 64, dtype=torch.float32), make(2, 1, 301, 64, dtype=torch.float32)],
    }[op]
    rest = angles(301, 64, 2, torch.float32) if op == "rope" else ()
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(outcome(ours, inputs, *rest))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_torch_agrees_with_the_registrations() -> None:
    x, w = make(6, 8, dtype=torch.float32).requires_grad_(), make(8, dtype=torch.float32).requires_grad_()
    torch.library.opcheck(torch.ops.fastft.rms_norm.default, (x, w, 1e-5, 0.0))
    _, rstd = torch.ops.fastft.rms_norm(x.detach(), w.detach(), 1e-5, 0.0)
    for need_x, need_weight in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(
            torch.ops.fastft.rms_norm_backward.default,
            (x.detach(), x.detach(), w.detach(), rstd, 0.0, need_x, need_weight),
        )
    torch.library.opcheck(torch.ops.fastft.swiglu.default, (x, x.detach().clone().requires_grad_()))
    torch.library.opcheck(torch.ops.fastft.swiglu_backward.default, (x.detach(), x.detach(), x.detach()))
    q = make(2, 3, 5, 8, dtype=torch.float32).requires_grad_()
    for inverse in (False, True):
        torch.library.opcheck(torch.ops.fastft.rope.default, (q, *angles(5, 8, 1, torch.float32), inverse))


def test_the_reference_gives_what_the_kernel_gives() -> None:
    from fastft.ops.rms_norm import _backward_reference, _reference
    from fastft.ops.rope import _reference as rope_reference
    from fastft.ops.swiglu import _backward_reference as swiglu_backward
    from fastft.ops.swiglu import _reference as swiglu_reference

    x, w, dy = make(300, 40), make(40, seed=1), make(300, 40, seed=2)
    y, rstd = torch.ops.fastft.rms_norm(x, w, 1e-5, 0.5)
    torch.testing.assert_close((y, rstd), _reference(x, w, 1e-5, 0.5))
    torch.testing.assert_close(
        torch.ops.fastft.rms_norm_backward(dy, x, w, rstd, 0.5, True, True),
        _backward_reference(dy, x, w, rstd, 0.5, True, True),
    )
    torch.testing.assert_close(torch.ops.fastft.swiglu(x, dy), swiglu_reference(x, dy))
    torch.testing.assert_close(torch.ops.fastft.swiglu_backward(y, x, dy), swiglu_backward(y, x, dy))
    q, (cos, sin) = make(2, 3, 5, 8), angles(5, 8, 2)
    sin = sin * make(1, 1, 8, seed=3)  # halves that differ
    for inverse in (False, True):
        torch.testing.assert_close(torch.ops.fastft.rope(q, cos, sin, inverse), rope_reference(q, cos, sin, inverse))


@pytest.mark.parametrize(
    "call",
    [
        lambda: rms_norm(torch.ones(2, 3), torch.ones(4)),
        lambda: rms_norm(torch.ones(2, 3), torch.ones(3).double()),
        lambda: swiglu(torch.ones(2), torch.ones(3)),
        lambda: swiglu(torch.ones(2).int(), torch.ones(2).int()),
        lambda: rope(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3), torch.ones(1, 2, 3), torch.ones(1, 2, 3)),
        lambda: rope(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), torch.ones(1, 3, 4), torch.ones(1, 3, 4)),
    ],
)
def test_what_does_not_fit_is_told(call) -> None:
    with pytest.raises(ValueError, match="not"):
        call()
