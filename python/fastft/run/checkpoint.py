"""Checkpoints that are whole or not there.

    checkpoints/.tmp-100-a1b2c3d4/    being written: tensors as safetensors, all else as JSON
    checkpoints/step-00000100/        durable: files synced, MANIFEST.json last, renamed, parent synced
    checkpoints/quarantine/           what has the name of a checkpoint but fails its manifest

A folder is valid when its manifest parses and every file has the size it says; before a checkpoint is
loaded its hashes are checked as well. The newest is found by looking, never by a pointer. An older one
is deleted only after a newer one is durable. After a failed sync the checkpoint is given up: the kernel
may have dropped the pages, and a second sync would lie.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft import __version__
from fastft.core.errors import ResourceError
from fastft.run import tensors
from fastft.run.files import DISK, Files, json_bytes

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "MANIFEST.json"
SCHEMA = 1
_SHA_LIMIT = 2 << 30
"""Bytes up to which loading checks sha256; above, the CRC, which is several times faster."""


@dataclass(frozen=True)
class Checkpoint:
    """A valid checkpoint on disk.

    Attributes:
        path: its folder.
        step: optimizer steps done.
        score: loss of the evaluation at that step, None when there was none.
        bytes: of all its files.
    """

    path: Path
    step: int
    score: float | None
    bytes: int

    def json(self, name: str) -> Any:
        """The content of one of its JSON files."""
        return json.loads((self.path / f"{name}.json").read_bytes())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The content of one of its tensor files, on the CPU."""
        return tensors.read(self.path / f"{name}.safetensors")


def write(
    folder: Path,
    step: int,
    documents: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Tensor]],
    *,
    facts: Mapping[str, Any],
    score: float | None = None,
    files: Files = DISK,
) -> Checkpoint:
    """Write a checkpoint and wait until it is durable.

    Args:
        folder: the run's `checkpoints`.
        step: optimizer steps done.
        documents: JSON values by file name without ending.
        tables: named tensors by file name without ending.
        facts: what the manifest says besides: config hash, data key, world.
        score: loss of the evaluation at this step.
        files: the disk.

    Raises:
        ResourceError: when the disk refuses; what was there before is untouched, nothing half-written stays.
    """
    target = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{step}-{secrets.token_hex(4)}"
    try:
        files.mkdir(temporary)
        books = {}
        for name, table in tables.items():
            books[f"{name}.safetensors"] = _write(temporary / f"{name}.safetensors", tensors.pieces(table), files)
        for name, document in documents.items():
            books[f"{name}.json"] = _write(temporary / f"{name}.json", iter([json_bytes(document)]), files)
        manifest = {
            "schema": SCHEMA,
            "step": step,
            "score": score,
            "fastft": __version__,
            **facts,
            "files": books,
        }
        _write(temporary / MANIFEST, iter([json_bytes(manifest)]), files)
        files.sync_folder(temporary)
        files.rename(temporary, target)
        files.sync_folder(folder)
    except OSError as error:
        _discard(temporary, files)
        raise ResourceError(
            f"the checkpoint of step {step} could not be written to `{folder}`: {error.strerror or error}",
            hint="make room or point `--out` to another disk; the run goes on from the checkpoint before",
            code="run.checkpoint-failed",
        ) from error
    return Checkpoint(target, step, score, sum(book["bytes"] for book in books.values()))


def note_score(path: Path, score: float, files: Files = DISK) -> None:
    """Give a checkpoint the score of an evaluation that came after it; its manifest is replaced whole.

    Raises:
        OSError: the disk refuses; the manifest is as it was.
    """
    manifest = json.loads((path / MANIFEST).read_bytes())
    temporary = path / f".{MANIFEST}.{secrets.token_hex(4)}.tmp"
    try:
        _write(temporary, iter([json_bytes({**manifest, "score": score})]), files)
        files.rename(temporary, path / MANIFEST)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    files.sync_folder(path)


def find(folder: Path) -> list[Checkpoint]:
    """The valid checkpoints in `folder`, oldest first; by manifest and sizes, without reading tensors."""
    found = []
    for path in _candidates(folder):
        try:
            found.append(_examine(path))
        except ValueError:
            continue
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def latest(folder: Path, *, log: Callable[[str], None] = lambda text: None, files: Files = DISK) -> Checkpoint | None:
    """The newest checkpoint that passes its hashes; what fails is moved to `quarantine/` and logged.

    Temporary folders of a run that was killed are deleted.
    """
    for path in sorted(folder.glob(".tmp-*")):
        _discard(path, files)
    for path in sorted(_candidates(folder), reverse=True):
        try:
            checkpoint = _examine(path)
            verify(checkpoint)
        except ValueError as error:
            moved = set_aside(path, files)
            log(f"`{path.name}` is not whole ({error}); moved to `{moved}`")
            continue
        return checkpoint
    return None


def load(path: Path) -> Checkpoint:
    """The checkpoint in the folder `path`, with its hashes checked.

    Raises:
        ValueError: when it is not whole, saying what is wrong with it.
    """
    checkpoint = _examine(path)
    verify(checkpoint)
    return checkpoint


def verify(checkpoint: Checkpoint) -> None:
    """Read a checkpoint's files and compare their hashes with the manifest.

    Raises:
        ValueError: naming the first file that differs.
    """
    manifest = json.loads((checkpoint.path / MANIFEST).read_bytes())
    for name, book in manifest["files"].items():
        fast = book["bytes"] > _SHA_LIMIT
        sha, crc = hashlib.sha256(), 0
        with (checkpoint.path / name).open("rb") as file:
            while piece := file.read(1 << 22):
                if fast:
                    crc = zlib.crc32(piece, crc)
                else:
                    sha.update(piece)
        if (f"{crc:08x}" != book["crc32"]) if fast else (sha.hexdigest() != book["sha256"]):
            raise ValueError(f"`{name}` differs from its hash")


def rotate(folder: Path, keep: int, files: Files = DISK) -> list[Path]:
    """Delete all but the `keep` newest and the best; returns what was deleted.

    A folder is renamed before it is emptied, so that a crash leaves no half of a checkpoint under its name.
    """
    found = find(folder)
    scored = [checkpoint for checkpoint in found if checkpoint.score is not None]
    best = min(scored, key=lambda checkpoint: (checkpoint.score, -checkpoint.step), default=None)
    gone = []
    for checkpoint in found[:-keep]:
        if checkpoint != best:
            doomed = folder / f".tmp-{checkpoint.step}-{secrets.token_hex(4)}"
            files.rename(checkpoint.path, doomed)
            files.remove_tree(doomed)
            gone.append(checkpoint.path)
    if gone:
        files.sync_folder(folder)
    return gone


def set_aside(path: Path, files: Files = DISK) -> Path:
    """Move a checkpoint's folder to `quarantine/`; returns where it is."""
    quarantine = path.parent / "quarantine"
    quarantine.mkdir(exist_ok=True)
    target = quarantine / path.name
    if target.exists():
        target = quarantine / f"{path.name}-{secrets.token_hex(4)}"
    files.rename(path, target)
    files.sync_folder(path.parent)
    return target


def _candidates(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if path.is_dir()]


def _examine(path: Path) -> Checkpoint:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ValueError("it has no manifest") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"its manifest can't be read: {error}") from None
    try:
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"its manifest has schema {manifest['schema']}, not {SCHEMA}")
        step, score, books = int(manifest["step"]), manifest["score"], manifest["files"]
        sizes = {name: int(book["bytes"]) for name, book in books.items()}
        complete = all(len(book["sha256"]) == 64 and len(book["crc32"]) == 8 for book in books.values())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its manifest lacks {error}") from None
    if not complete:
        raise ValueError("its manifest lacks a hash")
    for name, size in sizes.items():
        if "/" in name or name in {"", ".", ".."}:
            raise ValueError(f"its manifest names a file outside it: `{name}`")
        try:
            actual = (path / name).stat().st_size
        except OSError:
            raise ValueError(f"`{name}` is missing") from None
        if actual != size:
            raise ValueError(f"`{name}` has {actual:,} bytes instead of {size:,}")
    return Checkpoint(path, step, score, sum(sizes.values()))


def _write(path: Path, content: Iterator[bytes | memoryview], files: Files) -> dict[str, Any]:
    """Write one file, synced; returns its entry in the manifest. One pass over the bytes."""
    sha, crc, size = hashlib.sha256(), 0, 0
    with files.create(path) as file:
        for piece in content:
            sha.update(piece)
            crc = zlib.crc32(piece, crc)
            size += memoryview(piece).nbytes
            files.write(file, piece)
        files.sync(file)
    return {"bytes": size, "sha256": sha.hexdigest(), "crc32": f"{crc:08x}"}


def _discard(path: Path, files: Files) -> None:
    try:
        files.remove_tree(path)
    except OSError:
        return  # it has no checkpoint's name, so nobody takes it for one; the next start tries again
