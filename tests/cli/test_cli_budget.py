"""What starting costs: CPU seconds, best of a few, byte code warm as after an installation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "transformers", "peft", "datasets", "matplotlib", "tensorboard", "pandas"}


@pytest.mark.parametrize(("words", "limit"), [(("--version",), 0.15), (("--help",), 0.15)])
def test_the_first_words_come_at_once(fastft: Any, words: tuple[str, ...], limit: float) -> None:
    assert fastft(*words).code == 0
    assert min(fastft(*words).cpu for _ in range(5)) < limit


def test_six_mistakes_are_told_in_less_than_four_tenths_of_a_second(fastft: Any, root: Path) -> None:
    for name in ("six-mistakes.toml", "rows.jsonl"):
        shutil.copy(root / "tests" / "attacks" / name, fastft.folder)
    answer = fastft("config", "check", "six-mistakes.toml")
    assert answer.code == 3
    assert answer.err == (root / "tests" / "attacks" / "six-mistakes.txt").read_text() + "\n7 problems\n"
    assert min(fastft("config", "check", "six-mistakes.toml").cpu for _ in range(5)) < 0.4


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
