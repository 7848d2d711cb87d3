"""What tests of kernels share: every tier this CPU has, and memory that is not zero by luck."""

from __future__ import annotations

import pytest
import torch

from fastft.ops import LIBRARIES
from fastft.ops._load import cpu_tier, select_cpu_tier


@pytest.fixture(params=["generic", "avx2", "avx512"])
def tier(request):
    if not LIBRARIES["cpu"].loaded:
        pytest.skip(f"no compiled ops: {LIBRARIES['cpu'].reason}")
    before = cpu_tier()
    if select_cpu_tier(request.param) != request.param:
        pytest.skip(f"this CPU has no {request.param}")
    yield request.param
    select_cpu_tier(before)


@pytest.fixture
def poisoned():
    """Fresh memory is nan or 255: what a kernel forgets to write shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before)
