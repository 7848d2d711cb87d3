"""Families found by looking."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastft.core import registry
from fastft.core.errors import UnsupportedError
from fastft.core.registry import Registry, closest, closest_file


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package with one member file, and its registry in `members`."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from fastft.core.registry import Registry\nANIMALS = Registry('animal', 'zoo')\n"
    )
    (folder / "cat.py").write_text("from zoo import ANIMALS\nclass Cat: pass\nANIMALS.add('cat', Cat)\n")
    (folder / "_hidden.py").write_text("raise RuntimeError('a private module is not imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("zoo", "plug")]:
        del sys.modules[name]


def animals() -> Registry[type]:
    import zoo  # type: ignore[import-not-found]

    return zoo.ANIMALS  # type: ignore[no-any-return]


def test_a_file_is_enough_to_be_a_member(package: Path) -> None:
    (package / "zoo" / "dog.py").write_text("from zoo import ANIMALS\nclass Dog: pass\nANIMALS.add('dog', Dog)\n")
    assert animals().names() == ["cat", "dog"]
    assert animals().get("dog").__name__ == "Dog"
    assert animals().get("cow") is None


def test_two_members_of_one_name_are_refused_with_both_modules(package: Path) -> None:
    (package / "zoo" / "puma.py").write_text("from zoo import ANIMALS\nclass Puma: pass\nANIMALS.add('cat', Puma)\n")
    with pytest.raises(TypeError, match=r"two animals are called `cat`: one in zoo\.cat, one in zoo\.puma"):
        animals().names()


def plugin(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Install a distribution with an entry point, as pip lays it out."""
    (folder / "plug.py").write_text(code)
    info = folder / "plug_in-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fastft.animal]\nfish = plug\n")
    registry._plugins.cache_clear()
    monkeypatch.setattr(registry, "_plugins", registry._plugins.__wrapped__)


def test_an_installed_package_adds_members_by_entry_point(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(package, monkeypatch, "from zoo import ANIMALS\nclass Fish: pass\nANIMALS.add('fish', Fish)\n")
    assert animals().get("fish").__name__ == "Fish"
    assert animals().names() == ["cat", "fish"]


def test_a_broken_plugin_is_told_by_the_name_of_its_package(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(package, monkeypatch, "raise RuntimeError('out of fish')\n")
    assert animals().get("cat").__name__ == "Cat"  # the package's own members don't wait for plugins
    with pytest.raises(UnsupportedError, match=r"animal `fish` of the package `plug-in` can't be loaded: out of fish"):
        animals().names()


def test_the_nearest_word_is_found_whatever_its_case() -> None:
    assert closest("LORA", ["full", "lora"]) == "lora"
    assert closest("zzz", ["full", "lora"]) is None


def test_a_shared_ending_makes_no_file_near() -> None:
    names = ["run.toml", "train.toml"]
    assert closest_file("trian.toml", names) == "train.toml"
    assert closest_file("run.yaml", names) == "run.toml"
    assert closest_file("my.toml", names) is None
