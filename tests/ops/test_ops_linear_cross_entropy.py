"""The head and its loss in chunks: the gradients, the options, and what is held."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from fastft.ops import IGNORE, linear_cross_entropy, token_log_probs

MODULE = importlib.import_module("fastft.ops.linear_cross_entropy")


class Storages(TorchDispatchMode):
    """The bytes of each storage that an op returned."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.held: list[torch.Tensor] = []  # so that no address is used twice

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.held.append(tensor)
                self.sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return out


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks, the last one smaller, at sizes a test can afford."""
    monkeypatch.setattr(MODULE, "chunk_rows", lambda vocabulary, itemsize, device, rows: 3)


def inputs(rows=11, hidden=5, vocabulary=17, dtype=torch.float64, seed=0, ignored=(1, 4)):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(rows, hidden, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    w = torch.randn(vocabulary, hidden, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    b = torch.randn(vocabulary, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    y = torch.randint(0, vocabulary, (rows,), generator=generator)
    y[[row for row in ignored if row < rows]] = IGNORE
    return h, w, b, y


def plain(h, w, y, *, bias=None, softcap=0.0, scale=1.0, label_smoothing=0.0, reduction="sum"):
    z = torch.nn.functional.linear(h, w, bias) * scale
    if softcap:
        z = softcap * torch.tanh(z / softcap)
    if z.dtype != torch.float64:
        z = z.float()
    return torch.nn.functional.cross_entropy(z, y, label_smoothing=label_smoothing, reduction=reduction)


OPTIONS = [
    {},
    {"softcap": 2.0},
    {"scale": 0.3},
    {"label_smoothing": 0.1},
    {"reduction": "mean"},
    {"softcap": 3.0, "scale": 1.7, "label_smoothing": 0.2, "reduction": "mean"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_gradients_are_those_of_the_finite_differences(small_chunks, options, with_bias: bool) -> None:
    h, w, b, y = inputs()
    if with_bias:
        assert torch.autograd.gradcheck(lambda h, w, b: linear_cross_entropy(h, w, y, bias=b, **options), (h, w, b))
    else:
        assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, y, **options), (h, w))


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_every_option_moves_the_loss_as_in_plain_torch(small_chunks, options) -> None:
    h, w, b, y = inputs()
    got = linear_cross_entropy(h, w, y, bias=b, **options)
    torch.testing.assert_close(got, plain(h, w, y, bias=b, **options))
    assert (got - linear_cross_entropy(h, w, y, bias=b)).abs() > 1e-3
    assert (got - linear_cross_entropy(h, w, y, **options)).abs() > 1e-3


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 40),
    hidden=st.integers(1, 20),
    vocabulary=st.integers(1, 60),
    strided=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape_equals_plain_torch(rows: int, hidden: int, vocabulary: int, strided: bool, seed: int) -> None:
    h, w, _, y = inputs(rows, hidden, vocabulary, seed=seed, ignored=range(seed % 3, rows, 3))
    if strided:
        h = torch.empty(hidden, rows, dtype=h.dtype).copy_(h.detach().t()).t().requires_grad_()
        w = torch.cat([w.detach(), w.detach()], dim=1)[:, :hidden].requires_grad_()
    got = linear_cross_entropy(h, w, y)
    grads = torch.autograd.grad(got, (h, w))
    expected = plain(h, w, y)
    torch.testing.assert_close(got, expected)
    for left, right in zip(grads, torch.autograd.grad(expected, (h, w)), strict=True):
        torch.testing.assert_close(left, right)


def test_without_any_target_the_sum_is_zero_and_so_are_the_gradients() -> None:
    h, w, _, y = inputs()
    y.fill_(IGNORE)
    loss = linear_cross_entropy(h, w, y)
    assert loss == 0
    assert not torch.cat([g.view(-1) for g in torch.autograd.grad(loss, (h, w))]).any()


def test_the_backward_pass_scales_by_the_incoming_gradient_and_can_run_twice() -> None:
    h, w, _, y = inputs()
    loss = linear_cross_entropy(h, w, y)
    once = torch.autograd.grad(loss, (h, w), retain_graph=True)
    scaled = torch.autograd.grad(loss * -2.5, (h, w))
    for left, right in zip(once, scaled, strict=True):
        torch.testing.assert_close(left * -2.5, right)


def test_a_frozen_head_gets_no_gradient_and_none_is_computed() -> None:
    h, w, b, y = inputs()
    _, d_hidden, d_weight, d_bias = MODULE._op(h, w, y, b, 0.0, 1.0, 0.0, True, False, False)
    assert d_hidden.shape == h.shape
    assert d_weight.numel() == d_bias.numel() == 0
    linear_cross_entropy(h, w.detach(), y, bias=b.detach()).backward()
    assert h.grad is not None
    with torch.no_grad():
        assert not linear_cross_entropy(h, w, y).requires_grad


def test_a_poisoned_buffer_does_not_show(small_chunks) -> None:
    h, w, b, y = inputs()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        loss = linear_cross_entropy(h, w, y, bias=b)
        assert torch.isfinite(torch.cat([g.view(-1) for g in torch.autograd.grad(loss, (h, w, b))])).all()
    finally:
        torch.use_deterministic_algorithms(before)


def test_large_logits_do_not_overflow() -> None:
    h, w, _, y = inputs(dtype=torch.float32)
    h = (h.detach() * 1e4).requires_grad_()
    loss = linear_cross_entropy(h, w, y)
    torch.testing.assert_close(loss, plain(h, w, y))
    assert torch.autograd.grad(loss, h)[0].isfinite().all()


def test_opcheck_passes() -> None:
    h, w, b, y = inputs()
    for flags in ((True, True, True), (True, False, False), (False, False, False)):
        arguments = (h, w, y, b, 2.0, 0.5, 0.1, *flags)
        held = [t if flag else t.detach() for t, flag in zip((h, w, b), flags, strict=True)]
        arguments = (held[0], held[1], y, held[2], 2.0, 0.5, 0.1, *flags)
        for weights in ((), (torch.rand(len(y), dtype=torch.float64),)):
            result = torch.library.opcheck(torch.ops.fastft.linear_cross_entropy.default, (*arguments, *weights))
            assert set(result.values()) == {"SUCCESS"}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weights_multiply_each_targets_loss_and_its_gradients(small_chunks, options) -> None:
    h, w, b, y = inputs()
    weights = torch.linspace(0, 2, len(y), dtype=torch.float32)
    got = linear_cross_entropy(h, w, y, bias=b, weights=weights, **options)
    each = plain(h, w, y, bias=b, **{**options, "reduction": "none"})
    expected = (each * weights).sum()
    if options.get("reduction") == "mean":
        expected = expected / weights[y != IGNORE].sum()
    torch.testing.assert_close(got, expected)
    assert torch.autograd.gradcheck(
        lambda h, w, b: linear_cross_entropy(h, w, y, bias=b, weights=weights, **options), (h, w, b)
    )
    ones = linear_cross_entropy(h, w, y, bias=b, weights=torch.ones(len(y)), **options)
    assert torch.equal(ones, linear_cross_entropy(h, w, y, bias=b, **options))


def test_weights_of_another_shape_or_kind_are_refused() -> None:
    h, w, _, y = inputs()
    for weights in (torch.ones(3), torch.ones(len(y), dtype=torch.int64)):
        with pytest.raises(ValueError, match="weights are"):
            linear_cross_entropy(h, w, y, weights=weights)


def test_token_log_probs_are_those_of_log_softmax(small_chunks) -> None:
    h, w, b, y = inputs()
    got = token_log_probs(h, w, y, bias=b, softcap=3.0, scale=0.7)
    z = 3.0 * torch.tanh((h @ w.t() + b) * 0.7 / 3.0)
    expected = z.log_softmax(-1).gather(1, y.clamp(min=0)[:, None]).squeeze(1) * (y != IGNORE)
    torch.testing.assert_close(got, expected)
    assert not got.requires_grad
    torch.testing.assert_close(-got.sum(), linear_cross_entropy(h, w, y, bias=b, softcap=3.0, scale=0.7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, w, y: (h[None], w, y), r"hidden is \(T, H\)"),
        (lambda h, w, y: (h[:, 1:], w, y), r"weight \(V, H\)"),
        (lambda h, w, y: (h, w, y[1:]), r"targets are \(11,\) int64"),
        (lambda h, w, y: (h, w, y.int()), "int32"),
        (lambda h, w, y: (h, w.float(), y), "share a float dtype"),
        (lambda h, w, y: (h, w, y + 17), "the head has 17 rows"),
        (lambda h, w, y: (h, w, torch.full_like(y, -1)), "targets reach from -1"),
    ],
)
def test_what_does_not_fit_is_refused(change, message: str) -> None:
    h, w, _, y = inputs(ignored=())
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(*change(h, w, y))


def test_wrong_options_are_refused() -> None:
    h, w, b, y = inputs()
    with pytest.raises(ValueError, match="reduction is `sum` or `mean`"):
        linear_cross_entropy(h, w, y, reduction="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="label_smoothing"):
        linear_cross_entropy(h, w, y, label_smoothing=1.0)
    with pytest.raises(ValueError, match="bias is"):
        linear_cross_entropy(h, w, y, bias=b[1:])


def test_a_chunk_is_chosen_by_shapes_and_spread_evenly() -> None:
    assert MODULE.chunk_rows(49152, 4, "cpu", 10_000) == 334  # 30 chunks of 64 MiB at most
    assert MODULE.chunk_rows(49152, 4, "cpu", 342) == 171
    assert MODULE.chunk_rows(152_064, 4, "cpu", 10) == 10
    assert MODULE.chunk_rows(10**9, 4, "cpu", 1000) == 63


def test_the_largest_tensor_is_one_chunk_of_logits() -> None:
    rows, vocabulary = 4096, 8000
    h = torch.randn(rows, 16, generator=torch.Generator().manual_seed(0))
    w = torch.randn(vocabulary, 16, generator=torch.Generator().manual_seed(1))
    y = torch.randint(0, vocabulary, (rows,), generator=torch.Generator().manual_seed(2))
    with Storages() as seen:
        MODULE._reference(h, w, y, None, 0.0, 1.0, 0.0, True, False, False)
    chunk = MODULE.chunk_rows(vocabulary, 4, "cpu", rows) * vocabulary * 4
    assert chunk <= 64 << 20 < rows * vocabulary * 4
    large = [size for size in seen.sizes.values() if size > chunk // 4 and size != w.nbytes]
    assert large == [chunk]


@pytest.mark.slow
def test_a_compiled_graph_holds_the_loss_whole() -> None:
    h, w, _, y = inputs()
    compiled = torch.compile(lambda h, w: linear_cross_entropy(h, w, y), backend="aot_eager", fullgraph=True)
    got, expected = compiled(h, w), linear_cross_entropy(h, w, y)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, h)[0], torch.autograd.grad(expected, h)[0])
