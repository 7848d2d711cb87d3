from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
import run_helpers as helpers
from rich.console import Console

from fastft.core.events import (
    DataProgress,
    DataReady,
    Evaluated,
    ModelLoaded,
    RunEnded,
    RunStarted,
    Saved,
    StepEnded,
    Warned,
)
from fastft.run import sinks
from fastft.run.sinks import Bar, EventsFile, Lines, TensorBoard


def step(number: int, loss: float = 2.0) -> StepEnded:
    return StepEnded(
        step=number,
        total_steps=10,
        epoch=number / 5,
        loss=loss,
        lr=1e-4,
        grad_norm=0.5,
        tokens=1000,
        trained_tokens=400,
        seconds=0.5,
        tokens_per_second=2000.0,
        memory_bytes=3 << 30,
        metrics={"accuracy": 0.25},
    )


STORY = [
    DataProgress(rows=10, tokens=100, bytes_read=50, total_bytes=100, seconds=0.1),
    DataReady(key="k", cached=True, books={}, seconds=0.2),
    ModelLoaded(135_000_000, 2_000_000, 540_000_000, "float32", "CPU", "sdpa", 1.0),
    RunStarted("demo", 0, 10),
    step(1, 3.0),
    step(2, 2.5),
    Evaluated(2, 2.75, 1234, 0.5),
    Saved(2, "runs/demo/x/checkpoints/step-00000002", 1 << 20, 0.25),
    Warned("run.something", "a thing happened", "do that"),
    step(10, 1.5),
    RunEnded("finished", 10, 5.0),
]


def test_plain_lines_tell_the_story() -> None:
    stream = io.StringIO()
    sink = Lines(helpers.config().log, stream)
    for event in STORY:
        sink.emit(event)
    assert stream.getvalue() == (
        "data ready in 200 ms (from the cache)\n"
        "model: 135M parameters, 2M trained, float32 on CPU, attention sdpa, 515 MiB\n"
        "demo: 10 steps\n"
        "step 1/10  loss 3.0000  lr 1.00e-04  norm 0.500  2,000 tok/s  3 GiB  eta 4.5 s\n"
        "step 2/10  loss 2.5000  lr 1.00e-04  norm 0.500  2,000 tok/s  3 GiB  eta 4 s\n"
        "step 2: eval loss 2.7500 over 1,234 tokens\n"
        "saved runs/demo/x/checkpoints/step-00000002 (1 MiB, 250 ms)\n"
        "warning[run.something]: a thing happened\n"
        "hint: do that\n"
        "step 10/10  loss 1.5000  lr 1.00e-04  norm 0.500  2,000 tok/s  3 GiB  eta 0 ms\n"
        "finished after step 10\n"
        "  steps        10 of 10\n"
        "  loss         3.0000 -> 1.5000\n"
        "  tokens       3,000 in 1.5 s\n"
        "  speed        2,000 tokens/s\n"
        "  memory       3 GiB\n"
        "  eval loss    2.7500\n"
        "  run          runs/demo/x\n"
    )


def test_plain_lines_come_every_so_many_steps_and_at_the_end() -> None:
    stream = io.StringIO()
    sink = Lines(helpers.config(log__every=4).log, stream)
    for number in range(1, 11):
        sink.emit(step(number))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["4/10", "8/10", "10/10"]


def test_the_bar_shows_loss_rate_speed_time_left_and_memory() -> None:
    stream = io.StringIO()
    sink = Bar(Console(file=stream, force_terminal=True, width=140, color_system=None))
    for event in STORY:
        sink.emit(event)
    text = stream.getvalue()
    for part in ("loss 1.5000", "lr 1.00e-04", "2000 tok/s", "left ", "3 GiB", "10/10", "warning[run.something]"):
        assert part in text
    assert "3.0000 -> 1.5000" in text.split("finished after step 10")[1]
    assert "\x1b[?25h" in text, "the cursor is shown again"


def test_the_record_has_one_object_a_line_and_is_cut_back_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = EventsFile(path, 0)
    for number in range(1, 6):
        sink.emit(step(number))
    sink.emit(Evaluated(5, 1.0, 1, 0.1))
    sink.close()
    with path.open("a") as file:
        file.write('{"event": "step", "st')  # what a crash leaves
    sink = EventsFile(path, 3)
    sink.emit(RunStarted("demo", 3, 10, "step-00000003"))
    for number in (4, 5):
        sink.emit(step(number, 9.0))
    sink.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5]
    assert [event["loss"] for event in steps] == [2.0, 2.0, 2.0, 9.0, 9.0]
    assert {"step", "loss", "lr", "grad_norm", "tokens", "seconds"} <= steps[0].keys()
    assert not [event for event in events if event["event"] == "evaluated"]


def test_the_record_is_json_even_for_what_json_can_not_say(tmp_path: Path) -> None:
    sink = EventsFile(tmp_path / "events.jsonl", 0)
    sink.emit(step(1, math.nan))
    sink.close()
    assert json.loads((tmp_path / "events.jsonl").read_text())["loss"] == "nan"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_each_number_and_hides_what_a_resume_undoes(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TensorBoard(tmp_path, 0)
    for number in range(1, 5):
        first.emit(step(number, 5.0))
    first.close()
    second = TensorBoard(tmp_path, 2)
    second.emit(step(3, 1.0))
    second.emit(Evaluated(3, 0.5, 1, 0.1))
    second.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("train/loss")] == [(1, 5.0), (2, 5.0), (3, 1.0)]
    assert read.Scalars("eval/loss")[0].value == 0.5
    assert read.Scalars("train/accuracy")[0].value == 0.25


def test_a_start_from_nothing_hides_what_tensorboard_has_of_the_one_before(tmp_path: Path) -> None:
    """Killed before its first checkpoint, a run begins again in the same folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for loss in (5.0, 1.0):
        sink = TensorBoard(tmp_path, 0)
        for number in range(1, 4 if loss == 5.0 else 2):
            sink.emit(step(number, loss))
        sink.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("train/loss")] == [(1, 1.0)]


def test_a_line_of_the_record_ends_where_json_ends(tmp_path: Path) -> None:
    """U+2028 ends a line for Python's text, not for JSON lines; the event was lost on resume."""
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        sink = EventsFile(path, 0)
        sink.emit(Warned("data.row", "a\u2028b\x85c"))
        sink.close()
    assert [json.loads(line)["message"] for line in path.read_bytes().split(b"\n") if line] == ["a\u2028b\x85c"] * 2


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    history = [step(number, 3 / number).record() for number in range(1, 50)]
    sinks.plot(history, [Evaluated(10, 1.0, 1, 0.1).record()], tmp_path / "loss.png")
    content = (tmp_path / "loss.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
