"""The fuzz targets' own lock file agrees with that of the crates, so that tests and targets share what is compiled."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def locked(folder: Path) -> dict[str, set[str]]:
    """The versions of each package in a folder's Cargo.lock."""
    versions: dict[str, set[str]] = {}
    for package in tomllib.loads((folder / "Cargo.lock").read_text())["package"]:
        versions.setdefault(package["name"], set()).add(package["version"])
    return versions


def test_the_fuzz_targets_lock_the_versions_that_the_crates_lock() -> None:
    ours, theirs = locked(ROOT), locked(ROOT / "rust/fuzz")
    other = {name: (found, ours[name]) for name, found in theirs.items() if name in ours and not found <= ours[name]}
    assert not other, f"`cargo update --precise` in rust/fuzz, or copy the entries of ../../Cargo.lock: {other}"


def test_the_fuzz_targets_compile_libraries_as_the_crates_do() -> None:
    ours, theirs = (tomllib.loads((ROOT / folder / "Cargo.toml").read_text()) for folder in (".", "rust/fuzz"))
    shared = {key: value for key, value in theirs["profile"]["dev"].items() if key != "package"}
    assert shared == ours["profile"]["dev"]
