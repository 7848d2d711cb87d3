"""Telling how far the engine is while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastft.core.events import DataProgress, Warned

if TYPE_CHECKING:
    from fastft.core.events import Bus

PROGRESS_SECONDS = 1.0
"""Between two `DataProgress` events."""
_NAMED = 12
"""Columns that one warning names."""


class Watch:
    """Polls the engine's counters from a thread of its own while the caller waits for the engine.

    Args:
        progress: the engine's counters.
        bus: hears of them.
    """

    def __init__(self, progress: Any, bus: Bus) -> None:
        self._progress, self._bus = progress, bus
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastft-data-progress", daemon=True)

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(PROGRESS_SECONDS):
            self._bus.emit(
                DataProgress(
                    rows=self._progress.rows,
                    tokens=self._progress.tokens,
                    bytes_read=self._progress.bytes_read,
                    total_bytes=self._progress.total_bytes,
                    seconds=time.monotonic() - self._begin,
                )
            )


def first_of(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_NAMED]) + more


def tell_unused(unused: Mapping[str, Sequence[str]], bus: Bus) -> None:
    """Warn of columns that nothing reads, once for each source."""
    for source, columns in unused.items():
        bus.emit(
            Warned(
                "data.unused-columns",
                f"source `{source}` has columns that its format does not read: {first_of(columns)}",
                hint="name them in the source's `format` to use them, or in its `ignore` to hear no more of them",
            )
        )
