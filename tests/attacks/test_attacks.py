"""Configs that must be refused, each beside the text that a user reads.

`NAME.toml` is refused with exactly `NAME.txt`; `NAME.set` holds overrides, one a line. After a change of
words, `python tests/attacks/test_attacks.py` writes the texts anew, to be read in the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastft.config.load import load
from fastft.core.errors import ConfigError, render

HERE = Path(__file__).resolve().parent
CASES = sorted(path.stem for path in HERE.glob("*.toml"))


def told(name: str) -> str:
    """What a user reads; raises when the config is accepted."""
    overrides = HERE / f"{name}.set"
    try:
        load(f"{name}.toml", overrides.read_text().splitlines() if overrides.exists() else (), files=True)
    except ConfigError as error:
        return render(error.problems) + "\n"
    raise AssertionError(f"{name}.toml was accepted")


@pytest.mark.parametrize("name", CASES)
def test_a_bad_config_is_refused_with_these_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    assert told(name) == (HERE / f"{name}.txt").read_text(encoding="utf-8").replace("<here>", str(HERE))


@pytest.mark.parametrize("name", CASES)
def test_every_text_has_a_place_and_no_line_steers_the_terminal(name: str) -> None:
    text = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    for block in text.strip().split("\n\n"):
        assert block.startswith("error["), block
        assert "\n  --> " in block, block
        assert not block.split("\n")[0].replace("...", "").endswith("."), f"a single sentence has no full stop: {block}"
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_six_mistakes_are_all_told() -> None:
    text = (HERE / "six-mistakes.txt").read_text(encoding="utf-8")
    assert text.count("error[") == 7  # six in the file's values, and a data file that is not there
    assert text.count("  --> six-mistakes.toml:") == 7
    assert text.count("hint: ") == 6


if __name__ == "__main__":
    os.chdir(HERE)
    for case in CASES:
        (HERE / f"{case}.txt").write_text(told(case).replace(str(HERE), "<here>"), encoding="utf-8")
