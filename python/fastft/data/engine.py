"""The one door to the Rust data engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastft.core.errors import UnsupportedError

if TYPE_CHECKING:
    from types import ModuleType


def engine() -> ModuleType:
    """The module `fastft._engine`.

    Raises:
        UnsupportedError: it was not built; there is no second path in Python.
    """
    try:
        from fastft import _engine
    except ImportError as error:
        raise UnsupportedError(
            f"the data engine is not built: {error}",
            hint="run `make build`, or `pip install .` in the repository; both need cargo (https://rustup.rs)",
            code="unsupported.engine",
        ) from error
    return _engine
