"""Chunked linear and cross entropy against the float64 truth and against plain torch."""

from __future__ import annotations

import importlib

import pytest
import torch

from fastft.ops import linear_cross_entropy

pytestmark = pytest.mark.parity

MODULE = importlib.import_module("fastft.ops.linear_cross_entropy")


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    monkeypatch.setattr(MODULE, "chunk_rows", lambda vocabulary, itemsize, device, rows: 64)


def truth_and_plain(h, w, y, **kwargs):
    results = []
    for dtype in (torch.float64, h.dtype):
        hx, wx = (t.detach().to(dtype).requires_grad_() for t in (h, w))
        z = hx @ wx.t()
        z = z if dtype == torch.float64 else z.float()
        loss = torch.nn.functional.cross_entropy(z, y, reduction="sum", **kwargs)
        results.append([loss.detach(), *torch.autograd.grad(loss, (hx, wx))])
    return results


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_it_is_no_further_from_the_truth_than_twice_plain_torch(dtype: torch.dtype, label_smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(240, 64, generator=generator).to(dtype).requires_grad_()
    w = torch.randn(9_000, 64, generator=generator).mul(0.3).to(dtype).requires_grad_()
    y = torch.randint(0, 9_000, (240,), generator=generator)
    y[::3] = -100
    truth, plain = truth_and_plain(h, w, y, label_smoothing=label_smoothing)
    loss = linear_cross_entropy(h, w, y, label_smoothing=label_smoothing)
    ours = [loss.detach(), *torch.autograd.grad(loss, (h, w))]
    for name, exact, theirs, got in zip(("loss", "hidden", "weight"), truth, plain, ours, strict=True):
        error = (got.double() - exact).norm() / exact.norm()
        allowed = 2 * (theirs.double() - exact).norm() / exact.norm() + 1e-7
        assert error <= allowed, f"{name}: {error:.3e} > {allowed:.3e}"


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_weighted_targets_are_torchs_own_weighted_cross_entropy(reduction: str) -> None:
    """Torch weighs by class: weights that are a function of the target are the same thing."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(240, 64, generator=generator, dtype=torch.float64).requires_grad_()
    w = torch.randn(3_000, 64, generator=generator, dtype=torch.float64).mul(0.3).requires_grad_()
    y = torch.randint(0, 3_000, (240,), generator=generator)
    y[::3] = -100
    of_class = torch.rand(3_000, generator=generator, dtype=torch.float64)
    theirs = torch.nn.functional.cross_entropy(h @ w.t(), y, weight=of_class, reduction=reduction)
    ours = linear_cross_entropy(h, w, y, weights=of_class[y.clamp(min=0)], reduction=reduction)
    torch.testing.assert_close(ours, theirs)
    for left, right in zip(torch.autograd.grad(ours, (h, w)), torch.autograd.grad(theirs, (h, w)), strict=True):
        torch.testing.assert_close(left, right)


def test_it_gives_the_same_bits_on_one_thread_and_on_two() -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(600, 96, generator=generator).requires_grad_()
    w = torch.randn(20_000, 96, generator=generator).mul(0.3).requires_grad_()
    y = torch.randint(0, 20_000, (600,), generator=generator)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        loss = linear_cross_entropy(h, w, y)
        results.append([loss.detach(), *torch.autograd.grad(loss, (h, w))])
    torch.set_num_threads(before)
    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)
