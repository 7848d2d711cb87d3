"""Parameters in two groups: those that decay, and biases and norms, which do not.

A norm's scale has its natural value at 1 and a bias has no scale to fight, so pulling either
to zero costs accuracy and buys nothing; both are the parameters of fewer than two axes.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def decay_groups(parameters: list[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, Any]]:
    """Split named parameters by whether weight decay applies.

    Args:
        parameters: the trainable parameters by name, in the model's order.
        weight_decay: of matrices; biases and norms get 0.

    Returns:
        Groups as `torch.optim` takes them, named, in a fixed order, empty ones left out.
    """
    matrices = [(name, parameter) for name, parameter in parameters if parameter.ndim >= 2]
    vectors = [(name, parameter) for name, parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
