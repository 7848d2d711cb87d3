"""What starting costs: CPU seconds, best of a few, byte code warm as after an installation.

A machine may be three times slower in one minute than in the next, so the bounds are multiples of what Python, or
pydantic with one model, costs there and then; on the machine of the first figures they were 0.15 s and 0.4 s.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "transformers", "peft", "datasets", "matplotlib", "tensorboard", "pandas"}


PYTHON = "pass"
PYDANTIC = "import pydantic; pydantic.create_model('Model', field=(int, 1))()"


def ratio(fastft: Any, words: tuple[str, ...], yardstick: str) -> float:
    """How many times the CPU seconds of `python -c yardstick` the words cost."""
    pairs = [(fastft(*words).cpu, fastft.python("-c", yardstick).cpu) for _ in range(6)]
    ours, theirs = zip(*pairs, strict=True)
    return float(min(ours) / min(theirs))


@pytest.mark.parametrize("words", [("--version",), ("--help",)])
def test_the_first_words_come_at_once(fastft: Any, words: tuple[str, ...]) -> None:
    assert fastft(*words).code == 0
    assert ratio(fastft, words, PYTHON) < 9


def test_six_mistakes_are_told_for_little_more_than_pydantic_costs(fastft: Any, root: Path) -> None:
    for name in ("six-mistakes.toml", "rows.jsonl"):
        shutil.copy(root / "tests" / "attacks" / name, fastft.folder)
    answer = fastft("config", "check", "six-mistakes.toml")
    assert answer.code == 3
    assert answer.err == (root / "tests" / "attacks" / "six-mistakes.txt").read_text() + "\n7 problems\n"
    assert ratio(fastft, ("config", "check", "six-mistakes.toml"), PYDANTIC) < 2.5


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("config", "check", "run.toml"),
        ("config", "show", "run.toml", "--origin"),
        ("config", "schema"),
        ("config", "explain", "method.rank"),
        ("runs", "list"),
        ("completion", "bash"),
        ("train", "--help"),
        ("train", "missing.toml"),
        ("doctor", "--fast"),
    ],
)
def test_torch_stays_out(fastft: Any, words: tuple[str, ...]) -> None:
    assert not fastft.modules(*words) & HEAVY


def test_help_needs_neither_pydantic_nor_rich(fastft: Any) -> None:
    assert not fastft.modules("--help") & {"pydantic", "rich", "numpy", "pyarrow"}


def test_errors_need_no_rich(fastft: Any) -> None:
    assert "rich" not in fastft.modules("config", "check", "run.toml", "--set", "seed=x")
