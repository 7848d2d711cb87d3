"""Readers of a run's events: the record, the terminal, TensorBoard, and the plot at the end."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fastft.core import env
from fastft.core.events import (
    DataProgress,
    DataReady,
    Evaluated,
    Event,
    ModelLoaded,
    RunEnded,
    RunStarted,
    Saved,
    Sink,
    StepEnded,
    Warned,
)
from fastft.core.paths import write_atomic
from fastft.core.units import count, format_bytes, format_count, format_seconds, plural

if TYPE_CHECKING:
    from rich.console import Console

    from fastft.config.schema import LogConfig


class EventsFile:
    """`events.jsonl`: one object a line, steps in order.

    Args:
        path: the file; events of an earlier start stay.
        step: where this start goes on; what was recorded after it did not happen and is dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        if path.exists():
            write_atomic(path, b"".join(_until(path, step)))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def emit(self, event: Event) -> None:
        """Append one line; after a checkpoint or the end, wait until the disk has them all."""
        self._file.write(json.dumps(_finite(event.record()), ensure_ascii=False, allow_nan=False) + "\n")
        if isinstance(event, Saved | RunEnded):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Lines:
    """Plain lines, for a log file or a terminal that can't move its cursor."""

    def __init__(self, log: LogConfig, stream: TextIO | None = None) -> None:
        self._every = log.every
        self._stream = stream or sys.stderr
        self._summary = Summary()

    def emit(self, event: Event) -> None:
        """Print a line for what a reader of a log wants to know."""
        self._summary.emit(event)
        text = describe(event)
        if isinstance(event, StepEnded) and event.step % self._every and event.step != event.total_steps:
            return
        if isinstance(event, StepEnded):
            text = f"{text}  eta {format_seconds(self._summary.remaining(event))}"
        if text is not None:
            print(text, file=self._stream, flush=True)
        if isinstance(event, RunEnded):
            for name, value in self._summary.rows():
                print(f"  {name:<12} {value}", file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is pending."""


class Bar:
    """A moving bar with loss, rate, speed, time left and memory, and a table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._summary = Summary()
        self._progress: Any = None
        self._task: Any = None
        self._what = ""

    def emit(self, event: Event) -> None:
        """Move the bar, or print a line above it."""
        self._summary.emit(event)
        if isinstance(event, DataProgress):
            self._show("data", event.total_bytes, event.bytes_read)
            rows, tokens = plural(event.rows, "row"), plural(event.tokens, "token")
            self._text(f"{format_count(event.rows)} {rows}  {format_count(event.tokens)} {tokens}")
        elif isinstance(event, RunStarted):
            self._show("train", event.total_steps, event.step)
        elif isinstance(event, StepEnded):
            self._show("train", event.total_steps, event.step)
            self._text(
                f"loss {event.loss:.4f}  lr {event.lr:.2e}  {format_count(event.tokens_per_second)} tok/s  "
                f"left {format_seconds(self._summary.remaining(event))}  {format_bytes(event.memory_bytes)}"
            )
        else:
            text = describe(event)
            if isinstance(event, RunEnded):
                self.close()
            if text is not None and not isinstance(event, Saved):
                self._console.print(
                    text, style="yellow" if isinstance(event, Warned) else None, highlight=False, markup=False
                )
            if isinstance(event, RunEnded):
                self._table()

    def close(self) -> None:
        """Stop the bar, so that the terminal is whole again."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _show(self, what: str, total: int, done: int) -> None:
        if self._progress is None or self._what != what:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self.close()
            columns = [TextColumn("{task.description}"), BarColumn(bar_width=24)]
            if what == "train":
                columns.append(MofNCompleteColumn())
            self._progress = Progress(*columns, TextColumn("{task.fields[text]}", markup=False), console=self._console)
            self._task = self._progress.add_task(what, total=total, text="")
            self._progress.start()
            self._what = what
        self._progress.update(self._task, total=total, completed=done)

    def _text(self, text: str) -> None:
        self._progress.update(self._task, text=text)

    def _table(self) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for row in self._summary.rows():
            table.add_row(*map(Text, row))  # a path may hold what rich takes for markup
        self._console.print(table)


class TensorBoard:
    """TensorBoard's files, in the run's `tensorboard/`.

    Args:
        folder: where they go.
        step: where this start goes on; TensorBoard hides what earlier starts wrote after it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def emit(self, event: Event) -> None:
        """Add the numbers of a step or an evaluation."""
        if isinstance(event, StepEnded):
            numbers = {
                "train/loss": event.loss,
                "train/lr": event.lr,
                "train/grad_norm": event.grad_norm,
                "train/epoch": event.epoch,
                "speed/tokens_per_second": event.tokens_per_second,
                "speed/memory_bytes": float(event.memory_bytes),
                **{f"train/{name}": value for name, value in event.metrics.items()},
            }
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, event.step, walltime=event.time)
        elif isinstance(event, Evaluated):
            self._writer.add_scalar("eval/loss", event.loss, event.step, walltime=event.time)

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()


class Summary:
    """What the table at the end says; counts the steps of this start only for speed."""

    def __init__(self) -> None:
        self.first: StepEnded | None = None
        self.last: StepEnded | None = None
        self.evaluated: Evaluated | None = None
        self.saved: Saved | None = None
        self._tokens = 0
        self._seconds = 0.0
        self._recent = 0.0

    def emit(self, event: Event) -> None:
        """Take note."""
        if isinstance(event, StepEnded):
            self.first = self.first or event
            self.last = event
            self._tokens += event.tokens
            self._seconds += event.seconds
            self._recent = 0.9 * self._recent + 0.1 * event.seconds if self._recent else event.seconds
        elif isinstance(event, Evaluated):
            self.evaluated = event
        elif isinstance(event, Saved):
            self.saved = event

    def remaining(self, event: StepEnded) -> float:
        """Seconds to the end, at the speed of late."""
        return self._recent * (event.total_steps - event.step)

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each line."""
        rows = []
        if self.first is not None and self.last is not None:
            rows = [
                ("steps", f"{self.last.step} of {self.last.total_steps}"),
                ("loss", f"{self.first.loss:.4f} -> {self.last.loss:.4f}"),
                ("tokens", f"{self._tokens:,} in {format_seconds(self._seconds)}"),
                ("speed", f"{self._tokens / max(self._seconds, 1e-9):,.0f} tokens/s"),
                ("memory", format_bytes(self.last.memory_bytes)),
            ]
        if self.evaluated is not None:
            rows.append(("eval loss", f"{self.evaluated.loss:.4f}"))
        if self.saved is not None:
            rows.append(("run", str(Path(self.saved.path).parent.parent)))
        return rows


def terminal(log: LogConfig) -> Sink:
    """What a person watches: a bar on a terminal, plain lines elsewhere; always on stderr."""
    if not sys.stderr.isatty() or env.ci():
        return Lines(log)
    from rich.console import Console

    return Bar(Console(stderr=True, no_color=env.color() is False))


def describe(event: Event) -> str | None:
    """An event as a line of text; None when it is none's business."""
    match event:
        case StepEnded():
            return (
                f"step {event.step}/{event.total_steps}  loss {event.loss:.4f}  lr {event.lr:.2e}  "
                f"norm {event.grad_norm:.3f}  {event.tokens_per_second:,.0f} tok/s  {format_bytes(event.memory_bytes)}"
            )
        case RunStarted(resumed_from=None):
            return f"{event.name}: {count(event.total_steps, 'step')}"
        case RunStarted():
            return f"{event.name}: goes on after step {event.step} of {event.total_steps}, from {event.resumed_from}"
        case DataReady():
            return f"data ready in {format_seconds(event.seconds)}{' (from the cache)' if event.cached else ''}"
        case ModelLoaded():
            fused = "".join(f", {op} in {count(number, 'module')}" for op, number in event.fused.items())
            return (
                f"model: {format_count(event.parameters)} parameters, {format_count(event.trainable_parameters)} trained, "
                f"{event.dtype} on {event.device}, attention {event.attention}{fused}, "
                f"{format_bytes(event.model_bytes)}"
            )
        case Evaluated():
            return f"step {event.step}: eval loss {event.loss:.4f} over {event.trained_tokens:,} tokens"
        case Saved():
            return f"saved {event.path} ({format_bytes(event.bytes_written)}, {format_seconds(event.seconds)})"
        case Warned():
            return f"warning[{event.code}]: {event.message}" + (f"\nhint: {event.hint}" if event.hint else "")
        case RunEnded(status="finished", message=str()):
            return event.message
        case RunEnded():
            return f"{event.status} after step {event.step}"
    return None


def plot(history: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss over the steps, faint as it was and strong as it moved, with the evaluations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [entry["step"] for entry in history]
    losses = [entry["loss"] for entry in history]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#4c78a8", alpha=0.35, linewidth=1)
    axes.plot(steps, _smooth(losses), color="#4c78a8", linewidth=1.8, label="training")
    if evaluations:
        axes.plot(
            [entry["step"] for entry in evaluations],
            [entry["loss"] for entry in evaluations],
            "o-",
            color="#e45756",
            markersize=4,
            label="evaluation",
        )
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)


def _smooth(values: Sequence[float]) -> list[float]:
    """A running mean whose memory is a twentieth of the run, without the pull to the first value."""
    keep = 1 - 1 / max(1.0, len(values) / 20)
    mean, weight, smooth = 0.0, 0.0, []
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        smooth.append(mean / weight)
    return smooth


def _until(path: Path, step: int) -> list[bytes]:
    """The lines of what happened up to a step."""
    kept = []
    for line in path.read_bytes().split(b"\n"):  # not at what else Unicode takes for the end of a line
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut short by a crash
        if isinstance(record, dict) and record.get("step", 0) <= step:
            kept.append(line + b"\n")
    return kept


def _finite(value: Any) -> Any:
    """JSON has no word for NaN: it is written as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
