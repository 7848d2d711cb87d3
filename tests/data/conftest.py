from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from data_helpers import Kitchen, make_tokenizer


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    folder = tmp_path_factory.mktemp("data")
    return Kitchen(make_tokenizer(folder / "tokenizer"), folder / "cache")
