"""The system calls that durable files are made of, in one small class.

A checkpoint is written through `Files` and through nothing else, so that a test can give it a
disk that fails at the n-th write, sync or rename and see what is left.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from fastft.core.paths import sync_tree


class Files:
    """The disk as it is; a test subclasses it to make a call fail."""

    def mkdir(self, path: Path) -> None:
        """Make a folder that must not exist yet; its parents are made too."""
        path.mkdir(parents=True)

    def create(self, path: Path) -> BinaryIO:
        """Open a file that must not exist yet, unbuffered."""
        return path.open("xb", buffering=0)

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Write all of `data`; the system may take it in pieces."""
        rest = memoryview(data)
        while len(rest):
            rest = rest[file.write(rest) :]

    def sync(self, file: BinaryIO) -> None:
        """Wait until the file's bytes are on the disk. An error means that they may be lost for good."""
        os.fsync(file.fileno())

    def sync_folder(self, path: Path) -> None:
        """Wait until the folder's names are on the disk."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder its name, atomically."""
        source.rename(target)

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and what is in it."""
        shutil.rmtree(path)


DISK = Files()


def json_bytes(value: Any) -> bytes:
    """Readable JSON; NaN and infinity are refused, since JSON has no word for them."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def publish(temporary: Path, target: Path, files: Files = DISK) -> None:
    """Give a finished folder its name, in place of an older one if there is one."""
    sync_tree(temporary)
    old = None
    if target.exists():
        old = target.with_name(f".old-{target.name}-{secrets.token_hex(4)}")
        files.rename(target, old)
    files.rename(temporary, target)
    files.sync_folder(target.parent)
    if old is not None:
        files.remove_tree(old)
