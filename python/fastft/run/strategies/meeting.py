"""Where ranks wait for one another before there is a process group.

A group's timeout is meant for steps, which all ranks begin together. Before that, one rank may prepare data for
hours that another finds ready, so the group is made only when every rank is here; and so that one may read its model
from a slow disk, they meet once more before they use the group. Waiting costs nothing but a look
at a key-value store twice a second, heeds signals, and ends when the launcher ends this process.
"""

from __future__ import annotations

import socket
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from fastft.core import env
from fastft.core.errors import ConfigError, Problem, ResourceError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_LOOK_S = 0.5
_TELL_S = 60.0
"""A rank that waits says so once in this time."""


class Meeting:
    """Where all ranks come together, as often as they are asked to.

    Args:
        rank: this process's number.
        world: how many come.
        timeout: of what is done with the store besides.

    Raises:
        ConfigError: the environment does not say where rank 0 is.
        ResourceError: the place is not free.
    """

    def __init__(self, rank: int, world: int, timeout: timedelta) -> None:
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch exports it without saying so

        self._rank, self._world = rank, world
        host, port = _address()
        self._where = f"{host}:{port}"
        store = _open(host, port, rank, world, timeout)
        self.store: Store = PrefixStore(f"fastft/{env.restarts()}", store)

    def wait(self, occasion: str) -> None:
        """Wait, as long as it takes, until all ranks are here; `occasion` is another word each time."""
        self.store.add(occasion, 1)
        pause = _Pause(self._rank, self._where)
        while self.store.add(occasion, 0) < self._world:
            pause.once()


def _open(host: str, port: int, rank: int, world: int, timeout: timedelta) -> Store:
    """Rank 0 holds the store, unless its launcher does; the others come when it is there."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    holds = rank == 0 and not env.launcher_holds_store()
    if not holds:
        pause = _Pause(rank, f"{host}:{port}")
        while not _answers(host, port):
            pause.once()
    try:
        return TCPStore(host, port, world, holds, timeout, wait_for_workers=False, multi_tenant=True)
    except (RuntimeError, OSError) as error:
        raise ResourceError(
            f"rank {rank} can't {'listen' if holds else 'reach rank 0'} at {host}:{port}: {str(error).splitlines()[0]}",
            hint="another process may use the port: choose another MASTER_PORT",
            code="run.no-meeting",
        ) from error


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _address() -> tuple[str, int]:
    host, port = env.get("MASTER_ADDR"), env.get("MASTER_PORT")
    if host is None or port is None or not port.isdigit():
        raise ConfigError(
            [
                Problem(
                    "run.no-address",
                    None,
                    "several processes are to train together, and MASTER_ADDR and MASTER_PORT do not say where they meet",
                    hint="start them with torchrun, or set `strategy.processes` and let fastft start them",
                )
            ]
        )
    return host, int(port)


class _Pause:
    """Sleeps a little at a time, and says after a while what for."""

    def __init__(self, rank: int, where: str) -> None:
        self._rank, self._where = rank, where
        self._told = time.monotonic()

    def once(self) -> None:
        time.sleep(_LOOK_S)  # signals are heeded between two of these
        if time.monotonic() - self._told >= _TELL_S:
            self._told = time.monotonic()
            words = f"rank {self._rank} waits at {self._where} for the others, who may be preparing data or reading the model"
            print(words, file=sys.stderr, flush=True)
