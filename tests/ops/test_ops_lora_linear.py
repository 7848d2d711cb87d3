"""The fused LoRA linear against its formula and against PEFT."""

from __future__ import annotations

import pytest
import torch

from fastft.ops import lora_linear


def inputs(dtype=torch.float64, rows=(3, 4), k=6, n=7, r=2):
    generator = torch.Generator().manual_seed(0)

    def make(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return (
        make(*rows, k).requires_grad_(),
        make(n, k),
        make(n),
        make(r, k).requires_grad_(),
        make(n, r).requires_grad_(),
    )


def formula(x, w, bias, a, b, scale):
    return torch.nn.functional.linear(x, w, bias) + scale * (x @ a.t()) @ b.t()


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("rows", [(5,), (3, 4), (2, 3, 2), (0, 3)])
def test_it_equals_its_formula_forward_and_backward(rows, with_bias: bool) -> None:
    x, w, bias, a, b = inputs(rows=rows)
    bias = bias if with_bias else None
    got, expected = lora_linear(x, w, a, b, 0.7, bias=bias), formula(x, w, bias, a, b, 0.7)
    torch.testing.assert_close(got, expected)
    dy = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=got.dtype)
    for left, right in zip(
        torch.autograd.grad(got, (x, a, b), dy), torch.autograd.grad(expected, (x, a, b), dy), strict=True
    ):
        torch.testing.assert_close(left, right)


def test_the_gradients_are_those_of_the_finite_differences() -> None:
    x, w, bias, a, b = inputs()
    assert torch.autograd.gradcheck(lambda x, a, b: lora_linear(x, w, a, b, 0.7, bias=bias), (x, a, b))


def test_gradients_stop_where_none_is_wanted() -> None:
    x, w, bias, a, b = inputs()
    lora_linear(x.detach(), w, a, b, 1.0, bias=bias).sum().backward()
    assert x.grad is None
    assert a.grad is not None
    lora_linear(x, w, a.detach(), b.detach(), 1.0, bias=bias).sum().backward()
    assert x.grad is not None


def test_the_frozen_weight_gets_no_gradient() -> None:
    x, w, bias, a, b = inputs()
    w.requires_grad_()
    bias.requires_grad_()
    lora_linear(x, w, a, b, 1.0, bias=bias).sum().backward()
    assert w.grad is None
    assert bias.grad is None


def test_with_b_zero_the_base_comes_out_bit_for_bit() -> None:
    x, w, bias, a, b = inputs(torch.float32)
    without = lora_linear(x, w, a[:0], b[:, :0], 2.0, bias=bias)
    assert torch.equal(lora_linear(x, w, a, torch.zeros_like(b), 2.0, bias=bias), without)
    torch.testing.assert_close(without, torch.nn.functional.linear(x, w, bias))


def test_only_x_and_the_narrow_product_are_saved() -> None:
    x, w, bias, a, b = inputs(rows=(50,), k=30, n=40)
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        lora_linear(x, w, a, b, 1.0, bias=bias)
    fresh = [t for t in held if t.data_ptr() not in {v.data_ptr() for v in (x, w, a, b)}]
    assert [tuple(t.shape) for t in fresh] == [(50, 2)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_float32_adapters_serve_a_base_of_any_dtype_and_get_float32_gradients(dtype: torch.dtype) -> None:
    x, w, bias, a, b = inputs(dtype, rows=(64,), k=96, n=80, r=8)
    a32, b32 = a.detach().float().requires_grad_(), b.detach().float().requires_grad_()
    y = lora_linear(x, w, a32, b32, 0.5, bias=bias)
    assert y.dtype == dtype
    grads = torch.autograd.grad(y.float().square().sum(), (a32, b32))
    assert all(g.dtype == torch.float32 for g in grads)
    exact = formula(*(t.detach().double() for t in (x, w, bias, a, b)), 0.5)
    limit = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    assert (y.double() - exact).norm() / exact.norm() < limit


@pytest.mark.parametrize("group", [1, 2])
def test_opcheck_passes(group: int) -> None:
    x, w, bias, a, b = inputs(torch.float32)
    op = torch.ops.fastft.lora_linear.default
    arguments = (x, [w] * group, 0, [bias] * group, [a] * group, [b] * group, [0.7] * group)
    assert set(torch.library.opcheck(op, arguments).values()) == {"SUCCESS"}
    plain = [t.detach() for t in (x, a, b)]
    s = (plain[0].view(-1, 6) @ torch.cat([plain[1]] * group).t()).contiguous()
    backward = torch.ops.fastft.lora_linear_backward.default
    dy = [torch.ones(3, 4, 7)] * group
    arguments = (dy, plain[0], [w] * group, 0, [plain[1]] * group, [plain[2]] * group, s, [0.7] * group, True, True)
    assert set(torch.library.opcheck(backward, arguments).values()) == {"SUCCESS"}


def test_it_equals_a_peft_layer() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(12, 10))
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=4, lora_alpha=12, target_modules=["0"], init_lora_weights=False)
    )
    layer = model.base_model.model[0]
    x = torch.randn(9, 12)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    got = lora_linear(x, layer.base_layer.weight, a, b, layer.scaling["default"], bias=layer.base_layer.bias)
    torch.testing.assert_close(got, model(x))
