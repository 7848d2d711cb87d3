"""A small valid config, and members that exist for one test only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastft.config import kinds

MINIMAL = """\
[model]
path = "owner/name"

[[data.train]]
path = "rows.jsonl"

[stage]
kind = "sft"

[method]
kind = "lora"

[optimizer]
kind = "adamw"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a config: lines to put before the minimal one, and after it."""

    def write(before: str = "", after: str = "", name: str = "run.toml", body: str = MINIMAL) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{before}\n{body}\n{after}\n" if before or after else body, encoding="utf-8")
        return path

    return write


@pytest.fixture
def scratch_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the members that the test defines."""
    families = (kinds.METHODS, kinds.STAGES, kinds.OPTIMIZERS, kinds.SCHEDULES, kinds.FORMATS, kinds.QUANTIZERS)
    for family in families:
        family.names()
        monkeypatch.setattr(family, "_members", dict(family._members))
