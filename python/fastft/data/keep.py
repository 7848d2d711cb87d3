"""What was brought from elsewhere: a folder an entry, below a cap, and never taken from a process that uses it.

    <cache>/remote/<hash of the address>/<hash of the version>/<the file's own name>
                                        /files.json                what the address named when it was asked last
    <cache>/remote/locks/<hash>.lock                               one an entry

An entry is whole when its `entry.json` is there, which is written last. Whoever uses one holds its lock together with
others until the process ends; whoever makes or removes one holds it alone. So a file that is read is never removed, and
two processes that want the same file fetch it once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastft.core import env, paths
from fastft.core.errors import ResourceError

ENTRY = "entry.json"
"""What makes a folder a whole entry."""
_HELD: dict[str, int] = {}
"""Locks that this process keeps until it ends, by path."""


def digest(*words: str) -> str:
    """A short name for words; the same words have the same name."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Keep:
    """The cache of files from elsewhere.

    Args:
        cache: folder of everything cached.
    """

    cache: Path

    @property
    def root(self) -> Path:
        """Where the entries are."""
        return self.cache / "remote"

    def place(self, address: str) -> Path:
        """The folder of all versions of what an address names."""
        return self.root / digest(address)

    def file(self, address: str, version: str, name: str) -> Path | None:
        """The file of a whole entry, held from now on; None when there is none."""
        folder = self.place(address) / digest(version)[:16]
        if not (folder / ENTRY).is_file():
            return None
        self._hold(folder)
        if not (folder / ENTRY).is_file():  # removed while we waited for the lock
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / ENTRY)
        return folder / name

    def newest(self, address: str, name: str) -> Path | None:
        """The file of the whole entry of an address that was used last, held from now on."""
        marks = sorted(self.place(address).glob(f"*/{ENTRY}"), key=lambda mark: mark.stat().st_mtime)
        if not marks:
            return None
        self._hold(marks[-1].parent)
        return marks[-1].with_name(name) if marks[-1].is_file() else None

    def make(
        self, address: str, version: str, name: str, about: dict[str, Any], fill: Callable[[Path], object]
    ) -> Path:
        """The file of an entry, which `fill` makes at the path it is given unless it is there; held from now on."""
        folder = self.place(address) / digest(version)[:16]
        while (found := self.file(address, version, name)) is None:
            if (held := _HELD.pop(str(self._lock(folder)), None)) is not None:
                os.close(held)  # it was removed by hand while we used it
            with paths.alone(self._lock(folder)):
                if (folder / ENTRY).is_file():
                    continue
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    fill(folder / name)
                    paths.write_atomic(folder / ENTRY, json.dumps({"name": name, **about}, ensure_ascii=False))
                except OSError as error:
                    raise _unwritable(folder, error) from error
        return found

    def add(self, address: str, name: str, about: dict[str, Any], fill: Callable[[Path], object]) -> Path:
        """The same for content without a version: `fill` makes it anew, and its digest is its version."""
        work = self.place(address) / f"new-{os.getpid()}-{time.time_ns():x}"
        try:
            with paths.alone(self._lock(work)):
                work.mkdir(parents=True)
                fresh = work / name
                fill(fresh)
                with fresh.open("rb") as file:
                    version = hashlib.file_digest(file, "sha256").hexdigest()
                about = {**about, "sha256": version, "size": fresh.stat().st_size}
                made = self.make(address, version, name, about, fresh.replace)
        except OSError as error:
            raise _unwritable(work, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
            self._lock(work).unlink(missing_ok=True)
        self.make_room(0)  # only now is known how large it is
        return made

    def make_room(self, needed: int) -> None:
        """Remove entries that were not used for longest until `needed` more bytes are below the cap.

        What a running process uses stays, also when that is more than the cap.
        """
        cap = env.remote_cache_bytes()
        entries = sorted(self._entries(), key=lambda entry: entry[0])
        total = sum(size for _, size, _ in entries)
        for _, size, folder in entries:
            if total + needed <= cap:
                return
            path = self._lock(folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                if paths.lock(file.fileno()):
                    shutil.rmtree(folder, ignore_errors=True)
                    total -= size
                    with contextlib.suppress(OSError):
                        folder.parent.rmdir()  # when no other version is there

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """When each was used last, its bytes, and its folder; unfinished ones too."""
        for address in _folders(self.root):
            for folder in _folders(address):
                with contextlib.suppress(OSError):
                    files = [(file, file.stat()) for file in folder.iterdir()]
                    used = max((stat.st_mtime for _, stat in files), default=0.0)
                    marks = [stat.st_mtime for file, stat in files if file.name == ENTRY]
                    yield (marks[0] if marks else used), sum(stat.st_blocks * 512 for _, stat in files), folder

    def _lock(self, folder: Path) -> Path:
        return self.root / "locks" / f"{folder.parent.name}-{folder.name}.lock"

    def _hold(self, folder: Path) -> None:
        lock = self._lock(folder)
        if str(lock) in _HELD:
            return
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:  # a cache that may only be read is cleaned by nobody we could get in the way of
            return
        while not paths.lock(file, shared=True):
            time.sleep(0.1)
        _HELD[str(lock)] = file


def _folders(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (each for each in folder.iterdir() if each.is_dir() and each.name != "locks")


def _unwritable(folder: Path, error: OSError) -> ResourceError:
    return ResourceError(
        f"`{folder}` can't be written: {(error.strerror or str(error)).lower()}",
        hint="is there room? FASTFT_CACHE names another folder",
        code="resource.disk",
    )
