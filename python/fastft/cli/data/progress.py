"""How far preparing is, on stderr: a line that is written anew on a terminal, a line every 2 s elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from fastft.cli import console
from fastft.core import env
from fastft.core.events import DataProgress, Event, Warned
from fastft.core.units import format_count, format_rate, format_seconds, plural

_EVERY_S = 1.9
"""Between two lines where no terminal is; events come once a second."""


class Progress:
    """A sink that shows `DataProgress` and tells warnings.

    Args:
        stream: where to; by default stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._moving = self._stream.isatty() and not env.ci()
        self._last = time.monotonic()
        self._shown = False

    def emit(self, event: Event) -> None:
        """Show a state or a warning; other events are told by the command itself."""
        if isinstance(event, Warned):
            self.close()
            console.say(f"{console.style('warning', 'yellow')}[{event.code}]: {event.message}")
            if event.hint:
                console.say(f"{console.style('hint', 'cyan')}: {event.hint}")
        elif isinstance(event, DataProgress):
            self._show(event)

    def close(self) -> None:
        """Clear the line, so that what follows begins on an empty one."""
        if self._shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._shown = False

    def _show(self, event: DataProgress) -> None:
        if self._moving:
            print(f"\r\x1b[K{line(event)}", end="", file=self._stream, flush=True)
            self._shown = True
        elif time.monotonic() - self._last >= _EVERY_S:
            self._last = time.monotonic()
            print(line(event), file=self._stream, flush=True)


def line(event: DataProgress) -> str:
    """Part done, rows and tokens, speeds, time left; what is not known yet is left out."""
    seconds = max(event.seconds, 1e-9)
    done = min(event.bytes_read / event.total_bytes, 1.0) if event.total_bytes else 0.0
    if event.total_bytes and not event.rows and not event.bytes_read:
        return f"looking at the files or for duplicates, {format_seconds(event.seconds)} so far"
    parts = [f"{done:4.0%}"] if event.total_bytes else []
    parts.append(f"{format_count(event.rows)} {plural(event.rows, 'row')}")
    parts.append(f"{format_count(event.rows / seconds)} rows/s")
    if event.bytes_read:
        parts.append(format_rate(event.bytes_read / seconds))
    if event.tokens:
        parts.append(f"{format_count(event.tokens)} {plural(event.tokens, 'token')}")
    if done > 0.01:
        parts.append(f"left {format_seconds(event.seconds * (1 - done) / done)}")
    return "  ".join(parts)
