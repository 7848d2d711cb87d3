"""Each option of each optimizer changes the update as its formula says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastft.optimizers.adafactor import Adafactor
from fastft.optimizers.adamw import AdamW
from fastft.optimizers.sgd import SGD


def stepped(optimizer, steps=2):
    """A matrix and a bias of ones after some steps with gradients 1, 2, ..."""
    weight, bias = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))
    built = optimizer.build([("weight", weight), ("bias", bias)])
    for step in range(steps):
        for p in (weight, bias):
            p.grad = torch.full_like(p, float(step + 1))
        built.step()
    return weight.detach(), bias.detach(), built


@pytest.mark.parametrize("kind", [AdamW, SGD, Adafactor])
def test_decay_pulls_matrices_and_spares_biases(kind):
    still, still_bias, _ = stepped(kind(lr=0.01))
    pulled, pulled_bias, _ = stepped(kind(lr=0.01, weight_decay=0.5))
    assert (pulled < still).all()
    assert torch.equal(pulled_bias, still_bias)


@pytest.mark.parametrize("kind", [AdamW, SGD, Adafactor])
def test_lr_scales_the_step(kind):
    slow, fast = (float(1 - stepped(kind(lr=lr), steps=1)[0].mean()) for lr in (0.001, 0.01))
    assert fast == pytest.approx(10 * slow, rel=1e-3)


def test_adamw_follows_its_formula():
    weight, _, _ = stepped(AdamW(lr=0.1, betas=(0.5, 0.25), eps=0.1), steps=2)
    m = v = 0.0
    w = 1.0
    for t, g in ((1, 1.0), (2, 2.0)):
        m, v = 0.5 * m + 0.5 * g, 0.25 * v + 0.75 * g * g
        w -= 0.1 * (m / (1 - 0.5**t)) / ((v / (1 - 0.25**t)) ** 0.5 + 0.1)
    torch.testing.assert_close(weight, torch.full((4, 3), w))


def test_adamw_is_fused_and_knows_the_names():
    _, _, built = stepped(AdamW())
    assert built.defaults["fused"]
    assert [group["param_names"] for group in built.param_groups] == [["weight"], ["bias"]]


def test_sgd_keeps_momentum_and_nesterov_looks_ahead():
    plain, heavy, ahead = (
        float(stepped(SGD(lr=0.1, **given))[0].mean())
        for given in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True})
    )
    assert plain == pytest.approx(1 - 0.1 * 3)
    assert heavy == pytest.approx(1 - 0.1 * (1 + 2.9))
    assert ahead == pytest.approx(1 - 0.1 * (1.9 + 2 + 0.9 * 2.9))


def test_nesterov_without_momentum_is_refused():
    (problem,) = SGD(nesterov=True).conflicts(SimpleNamespace())
    assert problem.key == "optimizer.nesterov"


def test_adafactor_holds_rows_and_columns_only():
    weight, _, built = stepped(Adafactor())
    held = built.state[built.param_groups[0]["params"][0]]
    assert sum(v.numel() for k, v in held.items() if k != "step") == sum(weight.shape)


def test_adafactor_clips_the_second_step_and_forgets_by_its_decay():
    """Gradients 1 and 2: the second update is 2 / sqrt((1 - r) + 4 r) with r = 2 ** beta2_decay, over 1."""
    clipped, free, slower = (
        float(1 - stepped(Adafactor(lr=0.01, **given))[0].mean())
        for given in ({}, {"clip": 5.0}, {"clip": 5.0, "beta2_decay": -0.3})
    )
    assert clipped == pytest.approx(0.02, rel=0.02)
    for found, decay in ((free, -0.8), (slower, -0.3)):
        rate = 2**decay
        assert found == pytest.approx(0.01 * (1 + 2 / (1 - rate + 4 * rate) ** 0.5), rel=0.02)


def test_adafactors_least_size_moves_a_weight_at_zero():
    moved = []
    for least in (1e-3, 1e-1):
        weight = nn.Parameter(torch.zeros(4, 3))
        built = Adafactor(min_scale=least).build([("weight", weight)])
        weight.grad = torch.ones_like(weight)
        built.step()
        moved.append(-float(weight.detach().mean()))
    assert moved[1] == pytest.approx(100 * moved[0], rel=1e-3)
