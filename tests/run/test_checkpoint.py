from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastft.core.errors import ResourceError
from fastft.run import checkpoint, tensors
from fastft.run.files import Files

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def write(folder: Path, step: int, **changes: Any) -> checkpoint.Checkpoint:
    table = {"a.weight": torch.full((3, 4), float(step)), "b": torch.arange(5)}
    return checkpoint.write(folder, step, {"trainer": {"step": step}}, {"trained": table}, facts={}, **changes)


class Faulty(Files):
    """A disk whose n-th call goes wrong: with an error that the program sees, or by the machine stopping there."""

    class Stop(BaseException):
        pass

    def __init__(self, n: int, error: int | None, calls: tuple[str, ...] = ()) -> None:
        self.n, self.error, self.calls, self.count, self.dead = n, error, calls, 0, False

    def _call(self, name: str) -> None:
        if self.dead:
            raise self.Stop
        if self.calls and name not in self.calls:
            return
        self.count += 1
        if self.count == self.n:
            if self.error is None:
                self.dead = True
                raise self.Stop
            raise OSError(self.error, os.strerror(self.error))

    def mkdir(self, path: Path) -> None:
        self._call("mkdir")
        super().mkdir(path)

    def create(self, path: Path) -> BinaryIO:
        self._call("create")
        return super().create(path)

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        half = memoryview(data)[: len(memoryview(data)) // 2]
        try:
            self._call("write")
        except BaseException:
            super().write(file, half)  # as a full disk or a crash would leave it
            raise
        super().write(file, data)

    def sync(self, file: BinaryIO) -> None:
        self._call("sync")
        super().sync(file)

    def sync_folder(self, path: Path) -> None:
        self._call("sync")
        super().sync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        super().rename(source, target)

    def remove_tree(self, path: Path) -> None:
        if self.dead:
            raise self.Stop
        super().remove_tree(path)


def test_the_tensor_file_is_what_safetensors_writes_and_reads(tmp_path: Path) -> None:
    table = {f"t{i}": torch.randint(0, 2, (3, i)).to(dtype) for i, dtype in enumerate(DTYPES)}
    table["scalar"] = torch.tensor(1.5)
    (tmp_path / "ours").write_bytes(b"".join(bytes(piece) for piece in tensors.pieces(table)))
    save_file(table, tmp_path / "theirs")
    ours, theirs = load_file(tmp_path / "ours"), load_file(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)


def test_a_view_is_written_as_it_is_seen(tmp_path: Path) -> None:
    table = {"t": torch.arange(12.0).reshape(3, 4).t(), "part": torch.arange(10)[2:5]}
    (tmp_path / "file").write_bytes(b"".join(bytes(piece) for piece in tensors.pieces(table)))
    assert all(torch.equal(table[name], tensor) for name, tensor in load_file(tmp_path / "file").items())


def test_a_checkpoint_reads_back_and_its_manifest_names_every_file(tmp_path: Path) -> None:
    saved = write(tmp_path, 100, score=0.5)
    assert saved.path.name == "step-00000100"
    found = checkpoint.latest(tmp_path)
    assert found == saved
    assert found.json("trainer") == {"step": 100}
    assert torch.equal(found.tensors("trained")["a.weight"], torch.full((3, 4), 100.0))
    manifest = json.loads((saved.path / "MANIFEST.json").read_bytes())
    assert {*manifest["files"], "MANIFEST.json"} == {path.name for path in saved.path.iterdir()}
    assert manifest["score"] == 0.5


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, None], ids=["full", "quota", "io", "power"])
def test_a_fault_at_any_call_leaves_the_checkpoint_before_and_nothing_half_done(
    tmp_path: Path, error: int | None
) -> None:
    failures: list[ResourceError] = []
    for n in range(1, 100):
        folder = tmp_path / str(n)
        before = write(folder, 1)
        disk = Faulty(n, error)
        try:
            write(folder, 2, files=disk)
        except Faulty.Stop:
            pass
        except ResourceError as failure:
            failures.append(failure)
            assert not list(folder.glob(".tmp-*"))
        else:
            assert disk.count < n
            break
        found = checkpoint.latest(folder)
        assert found is not None
        # A fault after the rename finds the new one whole; before it, the old one.
        assert found.step == 2 if (folder / "step-00000002").exists() else found == before
        assert not list(folder.glob(".tmp-*"))
        assert not (folder / "quarantine").exists()
        after = write(folder, 3)
        assert checkpoint.latest(folder) == after
    else:
        pytest.fail("the fault was reached at every n")
    assert n > 8
    assert len(failures) == (0 if error is None else n - 1)
    assert all(failure.exit_code == 5 for failure in failures)


def test_a_failed_sync_is_not_tried_again(tmp_path: Path) -> None:
    disk = Faulty(1, errno.EIO, ("sync",))
    with pytest.raises(ResourceError, match="step 7 could not be written"):
        write(tmp_path, 7, files=disk)
    assert disk.count == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "MANIFEST.json").unlink(),
        lambda path: (path / "MANIFEST.json").write_text("{"),
        lambda path: (path / "MANIFEST.json").write_text('{"schema": 99}'),
        lambda path: (path / "MANIFEST.json").write_text("[]"),
        lambda path: (path / "MANIFEST.json").write_bytes(b"\xff\xfe"),
        lambda path: (path / "trained.safetensors").unlink(),
        lambda path: (path / "trained.safetensors").write_bytes((path / "trained.safetensors").read_bytes()[:-1]),
        lambda path: _flip(path / "trained.safetensors"),
        lambda path: _flip(path / "trainer.json"),
        lambda path: _edit(path, lambda m: m["files"]["trainer.json"].pop("sha256")),
        lambda path: _edit(path, lambda m: m["files"].update({"../../x": m["files"]["trainer.json"]})),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(tmp_path: Path, damage: Any) -> None:
    before, after = write(tmp_path, 1), write(tmp_path, 2)
    damage(after.path)
    said: list[str] = []
    assert checkpoint.latest(tmp_path, log=said.append) == before
    assert (tmp_path / "quarantine" / "step-00000002").is_dir()
    assert len(said) == 1
    assert "step-00000002" in said[0]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def _edit(path: Path, change: Any) -> None:
    manifest = json.loads((path / "MANIFEST.json").read_bytes())
    change(manifest)
    (path / "MANIFEST.json").write_text(json.dumps(manifest))


def test_a_large_file_is_checked_by_its_fast_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = write(tmp_path, 1)
    _edit(saved.path, lambda m: m["files"]["trained.safetensors"].update(crc32="0" * 8))
    assert checkpoint.latest(tmp_path) is not None
    monkeypatch.setattr(checkpoint, "_SHA_LIMIT", 0)
    with pytest.raises(ValueError, match=r"trained\.safetensors"):
        checkpoint.load(saved.path)


def test_rotation_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step, score in enumerate([0.9, 0.2, 0.5, None, 0.7], start=1):
        write(tmp_path, step, score=score)
    checkpoint.rotate(tmp_path, 2)
    assert [found.step for found in checkpoint.find(tmp_path)] == [2, 4, 5]


def test_a_score_may_be_entered_afterwards_and_the_best_stays(tmp_path: Path) -> None:
    for step, score in ((1, 0.9), (2, None), (3, 0.8), (4, 0.7)):
        write(tmp_path, step, score=score)
    checkpoint.note_score(tmp_path / "step-00000002", 0.1)
    checkpoint.rotate(tmp_path, 1)
    assert [(found.step, found.score) for found in checkpoint.find(tmp_path)] == [(2, 0.1), (4, 0.7)]
    assert checkpoint.load(tmp_path / "step-00000002").json("trainer") == {"step": 2}


def test_a_fault_while_a_score_is_entered_leaves_the_checkpoint_as_it_was(tmp_path: Path) -> None:
    saved = write(tmp_path, 1)
    for n in range(1, 6):
        with pytest.raises(OSError, match="No space"):
            checkpoint.note_score(saved.path, 0.5, Faulty(n, errno.ENOSPC))
        assert checkpoint.load(saved.path).score == (None if n < 5 else 0.5)
        assert not list(saved.path.glob(".*.tmp"))


def test_a_crash_while_rotating_leaves_whole_checkpoints_only(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path, step)

    class Dying(Files):
        def remove_tree(self, path: Path) -> None:
            (path / "MANIFEST.json").unlink()
            raise Faulty.Stop

    with pytest.raises(Faulty.Stop):
        checkpoint.rotate(tmp_path, 1, Dying())
    assert [found.step for found in checkpoint.find(tmp_path)] == [2, 3]
    assert checkpoint.latest(tmp_path) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_full_disk_ends_the_save_and_not_the_checkpoint_before(tmp_path: Path) -> None:
    """A limit of the process stands for the disk: the kernel itself refuses the write."""
    write(tmp_path, 1)
    code = f"""
import resource, signal, sys
from pathlib import Path
import torch
from fastft.core.errors import ResourceError
from fastft.run import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    checkpoint.write(Path({str(tmp_path)!r}), 2, {{}}, {{"trained": {{"w": torch.zeros(10000)}}}}, facts={{}})
except ResourceError as error:
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
