"""Schedules start learning at once, reach the peak, and end where they say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from fastft.schedules.constant import Constant
from fastft.schedules.cosine import Cosine
from fastft.schedules.linear import Linear


@pytest.mark.parametrize("kind", [Constant, Cosine, Linear])
def test_warm_up_rises_from_a_first_share_to_the_peak(kind):
    factors = [kind(warmup=4).factor(step, 100) for step in range(5)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == pytest.approx(1.0)


def test_a_warm_up_below_one_is_a_part_of_the_run():
    assert Constant(warmup=0.1).warmup_steps(200) == 20
    assert Constant(warmup=20).warmup_steps(200) == 20


def test_constant_stays():
    assert {Constant().factor(step, 10) for step in range(10)} == {1.0}


def test_cosine_is_half_way_down_in_the_middle():
    assert Cosine(warmup=0).factor(50, 100) == pytest.approx(0.5)
    assert Cosine(warmup=0).factor(99, 100) == pytest.approx(0.0, abs=1e-3)
    assert Cosine(warmup=0, floor=0.2).factor(50, 100) == pytest.approx(0.6)


def test_linear_is_a_line():
    assert [Linear(warmup=0).factor(step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert Linear(warmup=0, floor=0.5).factor(2, 4) == 0.75


@pytest.mark.parametrize("kind", [Constant, Cosine, Linear])
def test_no_step_of_a_run_is_without_effect(kind):
    assert all(kind(warmup=0.1).factor(step, 30) > 0 for step in range(30))


def test_half_a_step_is_refused():
    with pytest.raises(ValidationError, match="must be whole"):
        Cosine(warmup=1.5)


def test_a_warm_up_as_long_as_the_run_is_refused():
    assert not list(Cosine(warmup=5).conflicts(SimpleNamespace(steps=10)))
    (problem,) = Cosine(warmup=10).conflicts(SimpleNamespace(steps=10))
    assert problem.key == "schedule.warmup"
