"""The state of every random generator as plain tensors, and seeds that a step number gives back.

Each optimizer step seeds torch from (seed, step, rank), so dropout does not depend on how often
the run was saved, evaluated or resumed. Python's and numpy's generators run on, and are saved.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def derive(*parts: int | str) -> int:
    """A seed below 2^63 that depends on all `parts` alike, the same on every machine."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch on all devices."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch on all devices for 0-based optimizer step `step`."""
    import torch

    torch.manual_seed(derive("step", seed, step, rank))


def capture() -> dict[str, Tensor]:
    """The state of all generators of this process, as integers and floats."""
    import torch

    kind, words, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "python": torch.tensor([kind, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([*map(int, keys), int(place), int(has_gauss)], dtype=torch.int64),
        "numpy_gauss": torch.tensor([float(cached)], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore(state: Mapping[str, Tensor]) -> None:
    """Put all generators of this process back to a captured state."""
    import torch

    kind, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    random.setstate((kind, tuple(words), gauss[0] if gauss else None))
    *keys, place, has_gauss = state["numpy"].tolist()
    np.random.set_state(
        ("MT19937", np.array(keys, dtype=np.uint32), place, has_gauss, state["numpy_gauss"].tolist()[0])
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
