"""What happens in a run, as values.

The loop emits events; sinks consume them; neither knows the other. `events.jsonl` is the
record: the progress bar, TensorBoard and the board are readers of the same stream. Units are
in the field names; `tokens` counts ids that enter the model, `trained_tokens` those with a loss.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Event:
    """One thing that happened; `event` is its name in the record."""

    event: ClassVar[str]
    time: float = field(default_factory=time.time, kw_only=True)
    """Seconds since the epoch."""

    def record(self) -> dict[str, Any]:
        """The event as one JSON object."""
        return {"event": self.event, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins, or goes on at `step` after a stop."""

    event: ClassVar[str] = "run_started"
    name: str
    step: int
    total_steps: int
    resumed_from: str | None = None


@dataclass(frozen=True)
class DataProgress(Event):
    """How far preparing the data is."""

    event: ClassVar[str] = "data_progress"
    rows: int
    tokens: int
    bytes_read: int
    total_bytes: int
    seconds: float


@dataclass(frozen=True)
class DataReady(Event):
    """The data is prepared; `books` says what became of each row read."""

    event: ClassVar[str] = "data_ready"
    key: str
    cached: bool
    books: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class ModelLoaded(Event):
    """The model is in memory with its method attached."""

    event: ClassVar[str] = "model_loaded"
    parameters: int
    trainable_parameters: int
    model_bytes: int
    dtype: str
    device: str
    attention: str
    seconds: float
    fused: dict[str, int] = field(default_factory=dict)
    """Number of modules that an op of fastft serves, by op."""


@dataclass(frozen=True)
class StepEnded(Event):
    """One optimizer step is done."""

    event: ClassVar[str] = "step"
    step: int
    total_steps: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    trained_tokens: int
    seconds: float
    tokens_per_second: float
    memory_bytes: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated(Event):
    """The evaluation split was scored."""

    event: ClassVar[str] = "evaluated"
    step: int
    loss: float
    trained_tokens: int
    seconds: float


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint is durable on disk."""

    event: ClassVar[str] = "saved"
    step: int
    path: str
    bytes_written: int
    seconds: float


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know that does not stop the run."""

    event: ClassVar[str] = "warned"
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class RunEnded(Event):
    """The run is over: `finished`, `stopped` (by a signal, resumable) or `failed`."""

    event: ClassVar[str] = "run_ended"
    status: str
    step: int
    seconds: float
    code: str | None = None
    message: str | None = None


class Sink(Protocol):
    """A reader of the stream."""

    def emit(self, event: Event) -> None:
        """Take one event; raising drops the sink, never the run."""

    def close(self) -> None:
        """Write what is pending."""


class Bus:
    """Hands each event to every sink; a sink that raises is dropped with one warning."""

    def __init__(self, sinks: list[Sink] | None = None) -> None:
        self._sinks = list(sinks or [])

    def add(self, sink: Sink) -> None:
        """Let a sink hear what is emitted from now on."""
        self._sinks.append(sink)

    def emit(self, event: Event) -> None:
        """Hand `event` to every sink."""
        for sink in list(self._sinks):
            try:
                sink.emit(event)
            except Exception as error:  # logging must not end a run, whatever a sink does
                self._sinks.remove(sink)
                warnings.warn(f"{type(sink).__name__} stopped listening: {error}", RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks:
            sink.close()
        self._sinks = []
