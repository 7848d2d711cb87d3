"""Runs on disk, found by looking at their folders: there is no other list that could disagree.

Reads `run.json` and `events.jsonl` only; torch is not imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import NotFoundError, ResourceError, ResumeError
from fastft.core.paths import runs_folder
from fastft.core.registry import closest

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig
    from fastft.run.checkpoint import Checkpoint

RECORD = "run.json"
_FIELDS: dict[str, type] = {"name": str, "status": str, "created": str, "config": dict, "config_key": str}
"""What every record has, whatever became of the run."""
LOCK = ".lock"
"""Held while a run is trained; the first thing that a start writes."""


@dataclass(frozen=True)
class Run:
    """A run's folder, whether it is being trained or long over.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            ResumeError: it is damaged.
        """
        file = self.path / RECORD
        try:
            value = json.loads(file.read_bytes())
        except ValueError as error:
            raise _damaged(file, f"it is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise _damaged(file, "it holds no object")
        for name, kind in _FIELDS.items():
            if not isinstance(value.get(name), kind):
                raise _damaged(file, f"it has no `{name}`")
        return value

    @property
    def name(self) -> str:
        """The config's `name`."""
        return str(self.record["name"])

    @property
    def status(self) -> str:
        """`running`, `finished`, `stopped`, `failed`, or `interrupted`: killed while it ran."""
        status = str(self.record["status"])
        return "interrupted" if status == "running" and not locked(self.path) else status

    @property
    def config(self) -> RunConfig:
        """The resolved config."""
        from fastft.config.schema import RunConfig

        return RunConfig.model_validate(self.record["config"])

    @property
    def final(self) -> Path:
        """The trained adapter or model: a Hugging Face folder, there once the run is finished."""
        return self.path / "final"

    @property
    def events(self) -> Iterator[dict[str, Any]]:
        """What happened, in order; a line that a crash cut short is left out."""
        try:
            lines = (self.path / "events.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry an optimizer step: `step`, `loss`, `lr`, `grad_norm`, `tokens`, `seconds` and the rest."""
        return [event for event in self.events if event["event"] == "step"]

    def checkpoints(self) -> list[Checkpoint]:
        """The valid checkpoints, oldest first."""
        from fastft.run import checkpoint

        return checkpoint.find(self.path / "checkpoints")

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest valid checkpoint, None when there is none."""
        found = self.checkpoints()
        return found[-1] if found else None

    def summary(self) -> dict[str, Any]:
        """The run as one line of a list: name, status, steps, losses, times."""
        record = self.record
        last = (record.get("progress") or (self.history or [{}])[-1]) or {}
        return {
            "path": str(self.path),
            "name": record["name"],
            "status": self.status,
            "created": record["created"],
            "step": last.get("step", 0),
            "total_steps": record.get("total_steps"),
            "loss": last.get("loss"),
            "eval_loss": last.get("eval_loss"),
            "tokens": last.get("tokens"),
            "model": record["config"]["model"]["path"],
            "stage": record["config"]["stage"]["kind"],
            "method": record["config"]["method"]["kind"],
        }


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs below `root` (by default the runs folder), newest first; what is no run is passed over."""
    found = []
    root = root or runs_folder()
    for path in (*root.glob(f"*/{RECORD}"), *root.glob(f"*/*/{RECORD}")):  # `--out runs/demo` is one level less deep
        run = Run(path.parent)
        try:
            found.append((str(run.record["created"]), run))
        except (OSError, ResumeError):
            continue
    return [run for _, run in sorted(found, key=lambda pair: (pair[0], str(pair[1].path)), reverse=True)]


def load_run(reference: str | Path) -> Run:
    """The run that a word means: its folder, its `<name>/<id>`, or a name, whose newest run it is.

    Raises:
        NotFoundError: when there is none, with the nearest name as a hint.
    """
    for path in (Path(reference), runs_folder() / reference):
        if (path / RECORD).is_file():
            return Run(path)
    runs = list_runs()
    for run in runs:
        if str(reference) in (run.name, run.path.name):
            return run
    near = closest(str(reference), sorted({run.name for run in runs}))
    raise NotFoundError(
        f"there is no run `{reference}`",
        hint=f"did you mean `{near}`?" if near else "`fastft runs list` shows those there are",
        code="run.unknown",
    )


def is_run(path: str | Path) -> bool:
    """Whether a folder is a run's."""
    return (Path(path) / RECORD).is_file()


def _damaged(file: Path, why: str) -> ResumeError:
    return ResumeError(
        f"`{file}` is damaged: {why}",
        hint="bring it back, or move it away: `--resume CHECKPOINT` goes on from a folder of `checkpoints` without it",
        code="run.damaged-record",
    )


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the system lets go of it when the process dies.

    Raises:
        ResourceError: when another process trains into it, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise ResourceError(
            f"`{folder}` can't be written: {(error.strerror or str(error)).lower()}",
            hint="choose another `--out`, on a disk with room that you may write to",
            code="run.folder",
        ) from error
    with lock as file:
        if not _lock(file):
            raise ResourceError(
                f"another process is training into `{folder}`",
                hint="wait for it, stop it, or choose another `--out`",
                code="run.locked",
            )
        yield


def locked(folder: Path) -> bool:
    """Whether a living process trains into a run's folder."""
    try:
        with (folder / LOCK).open("rb") as file:
            return not _lock(file)
    except OSError:
        return False


def _lock(file: Any) -> bool:
    try:
        import fcntl
    except ImportError:
        return True  # Windows: two runs in one folder are the user's to avoid
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
