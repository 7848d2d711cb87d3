"""What every test has: no network, few threads, a cache of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import pytest

# how long one example takes says more of the machine than of the code
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started in the background of a script: programs that tests interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep what tests cache out of the user's cache; FASTFT_CACHE, when set, is honoured."""
    if "FASTFT_CACHE" in os.environ:
        yield
        return
    folder = tmp_path_factory.mktemp("cache")
    os.environ["FASTFT_CACHE"] = str(folder)
    yield
    del os.environ["FASTFT_CACHE"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger real data, named by FASTFT_SHARED."""
    folder = os.environ.get("FASTFT_SHARED")
    if not folder:
        pytest.skip("FASTFT_SHARED names no folder with the larger data sets")
    return Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests where there is no device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
