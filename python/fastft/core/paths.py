"""Where fastft keeps things, and how a file comes to be whole or not at all.

A reader sees the old content or the new, never half of it, also when the machine loses power
in between: bytes are written beside the target, synced, renamed over it, and the folder is
synced, since a rename lives in the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fastft.core import env
from fastft.core.errors import ResourceError


def cache_folder() -> Path:
    """Prepared data and converted models; safe to delete, made again when needed. Not created here."""
    chosen = env.cache()
    if chosen is not None:
        return Path(chosen).expanduser()
    base = env.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastft"


def runs_folder() -> Path:
    """The folder that holds `<name>/<time>` of each run. Not created here."""
    chosen = env.runs()
    return Path(chosen).expanduser() if chosen is not None else Path("runs")


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all; text is written as UTF-8.

    Raises:
        OSError: the disk is full or the folder can't be written; the target is as it was.
    """
    target = Path(path)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp gives 0600; a file like any other is wanted.
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Fill a folder that appears whole at `path` when the block ends, and not at all when it raises.

    Yields:
        The folder to write into, on the same file system as `path`.

    Raises:
        FileExistsError: `path` is there already and is not an empty folder.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target} exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        sync_tree(temporary)
        temporary.replace(target)  # over an empty folder, or nothing
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)


@contextlib.contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Say in the user's words when the disk refuses what a command was asked to write.

    Raises:
        ResourceError: the block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ResourceError(
            f"`{target}` can't be written: {(error.strerror or str(error)).lower()}",
            hint="choose a place on a disk with room that you may write to",
            code="resource.disk-full" if full else "resource.no-permission",
        ) from error


@contextlib.contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for other processes; the system lets go of it when a process dies.

    Waits by looking ten times a second, so that signals are heeded.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as file:
        while not lock(file.fileno()):
            time.sleep(0.1)
        yield


def lock(handle: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file, alone or together with others, without waiting: whether it was free."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows: what is made twice is the same, and the second costs time only
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sync_tree(folder: str | Path) -> None:
    """Make every file and folder below `folder`, and itself, durable."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent) / name)
        sync_folder(parent)


def sync_folder(folder: str | Path) -> None:
    """Make the names in a folder durable; where folders can't be opened (Windows) there is nothing to do."""
    if os.name == "posix":
        _sync(Path(folder))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The umask can only be read by setting it."""
    current = os.umask(0o022)
    os.umask(current)
    return current
