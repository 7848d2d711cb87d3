"""The variables that fastft reads, and optional packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastft.core import env
from fastft.core.errors import UnsupportedError
from fastft.core.need import available, need


def test_a_variable_that_is_not_documented_can_not_be_read() -> None:
    with pytest.raises(KeyError, match="not documented"):
        env.get("FASTFT_SECRET_KNOB")


def test_every_documented_variable_of_ours_is_read_somewhere(root: Path) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (root / "python" / "fastft").rglob("*.py"))
    read = set(re.findall(r"(?:get|_number)\(\"([A-Z_]+)\"", source))
    assert set(env.VARIABLES) - read - env.FOR_OTHERS == set()


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert env.color() is None
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert env.color() is False


def test_ranks_come_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (env.rank(), env.world_size(), env.local_rank(), env.launched()) == (0, 1, 0, False)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert (env.rank(), env.world_size(), env.local_rank(), env.launched()) == (3, 8, 1, True)
    monkeypatch.setenv("RANK", "x")
    with pytest.raises(ValueError, match="RANK is `x`"):
        env.rank()


def test_a_wrong_choice_of_ops_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFT_OPS", "reference")
    assert env.ops() == "reference"
    monkeypatch.setenv("FASTFT_OPS", "refrence")
    with pytest.raises(ValueError, match="refrence"):
        env.ops()


def test_a_missing_package_is_named_with_the_line_that_installs_it() -> None:
    assert need("json").__name__ == "json"
    with pytest.raises(UnsupportedError) as caught:
        need("no_such_package", extra="serve", what="`fastft serve`")
    assert str(caught.value) == (
        "error[unsupported.package-missing]: `fastft serve` needs the package `no_such_package`, which is not installed\n"
        "hint: pip install 'fastft[serve]'"
    )
    assert not available("no_such_package.inner")


def test_a_package_that_lacks_its_own_dependency_names_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import quite_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsupportedError, match=r"`quite_missing` \(wanted by `half_there`\)"):
        need("half_there")
