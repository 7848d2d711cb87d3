"""The one door to compiled kernels: finds and loads the libraries of `fastft/_kernels`.

A library that is not there is no error: the references in this package answer instead, on the
same devices with the same results. `FASTFT_OPS=reference` keeps all libraries out, for
finding out whether a kernel is at fault; `FASTFT_CPU` names the tier of CPU kernels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastft.core import env
from fastft.core.errors import UnsupportedError

FOLDER = Path(__file__).resolve().parent.parent / "_kernels"
TIERS = ("generic", "avx2", "avx512")


@dataclass(frozen=True)
class Library:
    """One compiled library as it was found.

    Attributes:
        name: `cpu` or `cuda`.
        loaded: whether its kernels serve.
        reason: why not, when it is not loaded.
        hint: one line that gets it.
        build: what it says of its build: compiler, torch, targets.
    """

    name: str
    loaded: bool
    reason: str | None = None
    hint: str | None = None
    build: dict[str, Any] | None = None


def load_libraries() -> dict[str, Library]:
    """Load what there is.

    Raises:
        UnsupportedError: when `FASTFT_CPU` names a tier that this CPU or build lacks.
    """
    forced = env.ops()
    if forced == "reference":
        return {name: Library(name, False, "FASTFT_OPS=reference is set", "unset FASTFT_OPS") for name in HINTS}
    found = {name: _load(name) for name in HINTS}
    wanted = env.get("FASTFT_CPU")
    if found["cpu"].loaded and wanted and select_cpu_tier(wanted) != wanted:
        raise UnsupportedError(
            f"FASTFT_CPU={wanted}, but this CPU has no such tier",
            hint=f"one of {', '.join(TIERS)}; unset it for the best",
            code="ops.cpu-tier",
        )
    return found


def select_cpu_tier(tier: str = "") -> str:
    """Choose the tier of CPU kernels, the best for an empty string; returns the one in use.

    A tier that this CPU or build lacks leaves all as it was.
    """
    return str(torch.ops.fastft.cpu_tier(tier))


def cpu_tier() -> str:
    """The tier of CPU kernels in use; the library must be loaded."""
    return str(torch.ops.fastft.cpu_tier("current"))  # no tier has that name


HINTS = {
    "cpu": "python setup.py build_ops",
    "cuda": "pip install 'fastft[cuda-compiler]' && python setup.py build_ops",
}


def _load(name: str) -> Library:
    path = FOLDER / f"libfastft_{name}.so"
    if not path.exists():
        return Library(name, False, f"{path.name} is not built", HINTS[name])
    if name == "cuda" and torch.version.cuda is None:
        return Library(name, False, f"torch {torch.__version__} is built without CUDA", "install a CUDA build of torch")
    try:
        torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
    except OSError as error:
        return Library(name, False, f"{path.name} does not load: {error}", HINTS[name])
    info = getattr(torch.ops.fastft, f"{name}_build_info")()
    return Library(name, True, build=json.loads(info))


LIBRARIES = load_libraries()
"""What was found when this package was imported."""
