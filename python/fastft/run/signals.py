"""SIGTERM, SIGINT and SIGUSR1 ask a run to stop where it can go on later.

The first signal lets the running step end, a checkpoint is saved, and `Preempted` gives exit code 75.
Before the first step nothing is lost, so the signal stops at once. A second signal ends the process
as the system would: 128 + its number.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fastft.core.errors import Preempted

_ASKING = (signal.SIGTERM, signal.SIGINT) + ((signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ())


_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent is gone, in <linux/prctl.h>."""


def follow(parent: int) -> None:
    """Let this process be asked to stop when `parent`, which started it, dies without a word.

    Linux only; elsewhere a process whose parent was killed goes on. SIGTERM, so that what was learnt is saved.

    Raises:
        Preempted: the parent is gone already.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # refused by a sandbox, at worst
    if os.getppid() != parent:
        raise Preempted("the process that started this one is gone")


class Signals:
    """Listens while it is entered; the handlers that were there come back afterwards.

    Attributes:
        received: name of the signal that asked the run to stop, None as long as none did.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            for number in _ASKING:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal; the caller looks at `received` where it can stop."""
        self._deferred = True
        if self.received is not None:  # what the handler raised was caught by someone else's `except Exception`
            raise self._preempted(self.received)
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.received is not None:
            sys.stderr.write(f"{name} again: stopping now, without saving\n")
            sys.stderr.flush()
            os._exit(128 + number)
        self.received = name
        if not self._deferred:
            raise self._preempted(name)

    @staticmethod
    def _preempted(name: str) -> Preempted:
        return Preempted(f"{name} stopped the run before its first step", hint="the same command starts it again")
