from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fastft.core.errors import ResumeError, UnsupportedError
from fastft.run import rng, state


def test_random_generators_go_on_where_they_were() -> None:
    rng.seed_all(5)
    random.gauss(0, 1)  # leaves a second value behind, as numpy's does
    np.random.normal()
    saved = rng.capture()

    def draw() -> list[float]:
        return [
            random.gauss(0, 1),
            random.random(),
            float(np.random.normal()),
            float(np.random.random()),
            float(torch.rand(())),
        ]

    first = draw()
    rng.seed_all(6)
    rng.restore(saved)
    assert draw() == first


def test_seeds_differ_by_every_part_and_are_the_same_everywhere() -> None:
    assert len({rng.derive("step", 1, 2, 3), rng.derive("step", 1, 23), rng.derive("step", 2, 1, 3)}) == 3
    assert rng.derive("step", 42, 0, 0) == 2776482164133144918


def test_the_state_of_an_optimizer_is_kept_by_name_in_its_own_dtype() -> None:
    """A float32 moment of a bfloat16 weight stays float32, and the order of parameters does not matter."""
    first = {"a": nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), "b": nn.Parameter(torch.ones(3))}
    optimizer = torch.optim.AdamW(first.values(), lr=1.0)
    for index, parameter in enumerate(first.values()):
        optimizer.state[parameter] = {
            "step": torch.tensor(3.0),
            "exp_avg": torch.full_like(parameter, 0.1 + index, dtype=torch.float32),
            "list": [1, (2.5, None), {"deep": torch.tensor([7])}],
        }
    document, tensors = state.optimizer_state(optimizer, first)
    document = json.loads(json.dumps(document))
    second = {"b": nn.Parameter(torch.zeros(3)), "a": nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))}
    other = torch.optim.AdamW(second.values(), lr=0.5)
    state.load_optimizer(other, second, document, tensors)
    assert other.state[second["a"]]["exp_avg"].dtype == torch.float32
    for name in ("a", "b"):
        mine, theirs = other.state[second[name]], optimizer.state[first[name]]
        assert torch.equal(mine["exp_avg"], theirs["exp_avg"])
        assert mine["list"][:2] == [1, (2.5, None)]
        assert torch.equal(mine["list"][2]["deep"], torch.tensor([7]))
    assert other.param_groups[0]["lr"] == 0.5


def test_values_of_a_group_that_the_optimizer_moves_itself_are_kept() -> None:
    parameters = {"a": nn.Parameter(torch.ones(2))}
    optimizer = torch.optim.SGD(parameters.values(), lr=1.0)
    optimizer.param_groups[0].update(k=7, weight_sum=0.1, bound=math.inf)
    document, tensors = state.optimizer_state(optimizer, parameters)
    other = torch.optim.SGD(parameters.values(), lr=2.0)
    state.load_optimizer(other, parameters, json.loads(json.dumps(document, allow_nan=False)), tensors)
    group = other.param_groups[0]
    assert (group["k"], group["weight_sum"], group["bound"], group["lr"]) == (7, 0.1, math.inf, 2.0)


def test_state_that_only_pickle_could_hold_is_refused() -> None:
    parameters = {"a": nn.Parameter(torch.ones(2))}
    optimizer = torch.optim.SGD(parameters.values(), lr=1.0)
    optimizer.state[parameters["a"]] = {"helper": object()}
    with pytest.raises(UnsupportedError, match="keeps a object"):
        state.optimizer_state(optimizer, parameters)


@pytest.mark.parametrize(
    "tensors", [{"weight": torch.zeros(2, 3)}, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, {}]
)
def test_weights_of_another_shape_or_name_are_refused(tensors: dict[str, Any]) -> None:
    with pytest.raises(ResumeError, match=r"trains other weights .* `(weight|bias)`"):
        state.load_weights(nn.Linear(3, 2), tensors)
