"""`run.json`: what was run, on what, with which outcome; and the context in which a run is open.

Written whole at each change, so it can be read at any time. Holds no secret and nothing of the environment:
versions, hardware, fingerprints of the data, the plan, the resolved config, the result.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft import __version__
from fastft.core.errors import FastftError, Preempted, ResourceError
from fastft.core.events import Bus, RunEnded, Warned
from fastft.core.paths import write_atomic
from fastft.run import resume, sinks
from fastft.run.loop import Progress
from fastft.run.registry import RECORD, Run, claim

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig
    from fastft.run.plan import Place, Plan

SCHEMA = 1
_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "pyarrow")


@dataclass
class Session:
    """A run that is open in this process.

    Attributes:
        run: its folder.
        start: where training begins.
        bus: takes its events; on ranks above 0 nobody listens.
        leader: whether this process writes the folder.
        progress: how far it came.
    """

    run: Run
    start: resume.Start
    bus: Bus
    leader: bool
    progress: Progress = field(default_factory=Progress)
    _facts: dict[str, Any] = field(default_factory=dict)
    _over: bool = False
    _begun: float = field(default_factory=time.perf_counter)

    def note(self, **facts: Any) -> None:
        """Add to `run.json`."""
        self._facts.update(facts)
        if self.leader:
            write_atomic(self.run.path / RECORD, json.dumps(self._facts, indent=1, ensure_ascii=False) + "\n")

    def note_plan(self, plan: Plan, total: int) -> None:
        """Record what the config came to here."""
        self.note(plan=plan.with_steps(total).record(), total_steps=total, hardware=_hardware(plan))

    def ended(self, status: str, error: FastftError | None = None) -> None:
        """Record and tell the outcome."""
        if not self.leader or self._over:
            return
        self._over = True
        code, message = (error.code, error.message) if error is not None else (None, None)
        try:
            self.note(
                status=status,
                ended=_now(),
                progress=asdict(self.progress),
                error=None if error is None else {"code": code, "message": message},
            )
        except OSError as refused:  # a full disk ends a run; it must not hide why, which is told below
            if error is None:
                raise
            self.bus.emit(Warned("run.record", f"`{RECORD}` could not be written: {refused.strerror or refused}"))
        seconds = time.perf_counter() - self._begun
        self.bus.emit(RunEnded(status, self.progress.step, seconds, code, message))


@contextmanager
def opened(
    config: RunConfig,
    *,
    out: Path | None,
    how: str,
    place: Place,
    bus: Bus,
    texts: Mapping[str, str],
) -> Iterator[Session]:
    """Open the run's folder for this process, and record how it ends.

    Args:
        config: the run.
        out: the folder asked for.
        how: `auto`, `never` or a checkpoint's path, see `resume.choose`.
        place: this process among those that train together; rank 0 owns the folder.
        bus: who listens.
        texts: files to write into the folder, by name.

    Raises:
        ResumeError: when the folder belongs to another run.
        ResourceError: when another process holds it, or the GPU's memory is full.
    """
    leader = place.rank == 0
    with ExitStack() as stack:
        if leader:
            start = resume.choose(config, out, how, lambda text: bus.emit(Warned("run.resume", text)))
            if not start.finished:
                stack.enter_context(claim(start.folder))
        else:
            assert out is not None  # `launch.check_place` refuses a cluster without a folder
            # The checkpoint is rank 0's choice, see `resume.agreed`; a finished run is seen by all, or they would wait.
            start = resume.Start(out, finished=how == "auto" and resume.finished(config, out))
        session = Session(Run(start.folder), start, bus if leader else Bus(), leader)
        if start.finished:
            yield session
            return
        if leader:
            _write_head(session, config, texts)
        stack.callback(session.bus.close)
        try:
            yield session
        except Preempted as stop:
            session.ended("stopped", stop)
            raise
        except FastftError as error:
            session.ended("failed", error)
            raise
        except BaseException as error:
            known = _known(error)
            session.ended("failed", known or FastftError(f"{type(error).__name__}: {error}"))
            if known is not None:
                raise known from error
            raise


def _write_head(session: Session, config: RunConfig, texts: Mapping[str, str]) -> None:
    """Write what is known before anything is trained, and let the record hear the events."""
    folder, step = session.run.path, session.start.saved.step if session.start.saved else 0
    earlier = session.run.record if (folder / RECORD).is_file() else {}
    start = {"time": _now(), "step": step, "from": str(session.start.saved.path) if session.start.saved else None}
    for name, text in texts.items():
        write_atomic(folder / name, text)
    session.note(
        schema=SCHEMA,
        name=config.name,
        id=folder.name,
        status="running",
        created=earlier.get("created", _now()),
        starts=[*earlier.get("starts", []), start],
        seed=config.seed,
        config=resume.values(config),
        config_key=resume.config_key(config),
        versions=versions(),
    )
    session.bus.add(sinks.EventsFile(folder / "events.jsonl", step))
    if config.log.tensorboard:
        session.bus.add(sinks.TensorBoard(folder / "tensorboard", step))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"fastft": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _hardware(plan: Plan) -> dict[str, Any]:
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": plan.device_name,
        "memory_bytes": plan.memory_bytes,
    }


def _known(error: BaseException) -> FastftError | None:
    """What the user can do something about, among errors that are not ours."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return ResourceError(
            "the GPU's memory is full",
            hint='lower `batch.micro` or `data.max_length`, or set `model.recompute = "full"`',
            code="resource.gpu-memory",
        )
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return ResourceError(f"`{error.filename}`: {error.strerror}", code="resource.disk")
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
