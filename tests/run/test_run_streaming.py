"""Training on rows that become tokens on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import SignalAt, config, final, same

from fastft import data
from fastft.core.errors import Preempted, ResumeError
from fastft.core.events import Bus
from fastft.run import dry_run, load_run, train

pytest.importorskip("fastft._engine", reason="the data engine is not built")

STREAM: dict[str, Any] = {"data__streaming": True, "data__lanes": 2}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A file large enough for lanes, with one row that is broken."""
    rows = [json.dumps({"instruction": f"Say red {n} " * (n % 3 + 1), "output": f"red {n}"}) for n in range(600)]
    rows[4] = "{"
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(rows))
    return path


def test_a_stopped_stream_goes_on_to_the_very_same_weights(tiny: Path, many: Path, tmp_path: Path) -> None:
    run = config(tiny, many, **STREAM)
    whole = train(run, out=tmp_path / "whole", bus=Bus())
    with pytest.raises(Preempted):
        train(run, out=tmp_path / "broken", bus=Bus([SignalAt(3)]))
    train(run, out=tmp_path / "broken", bus=Bus())
    assert same(final(tmp_path / "whole"), final(tmp_path / "broken"))
    assert whole.record["data"]["books"]["streaming"]
    assert whole.record["epoch_estimate"]["tokens"] > 0
    assert not (tmp_path / "whole" / "data" / "manifest.json").exists()


def test_streaming_trains_on_what_the_block_order_of_prepared_rows_gives(
    tiny: Path, many: Path, tmp_path: Path
) -> None:
    train(config(tiny, many, **STREAM), out=tmp_path / "stream", bus=Bus())
    train(config(tiny, many, data__shuffle="block", data__lanes=2), out=tmp_path / "block", bus=Bus())
    train(config(tiny, many), out=tmp_path / "global", bus=Bus())
    losses = [[e["loss"] for e in load_run(tmp_path / name).history] for name in ("stream", "block", "global")]
    assert losses[0] == losses[1] != losses[2]
    assert same(final(tmp_path / "stream"), final(tmp_path / "block"))


def test_epochs_of_a_stream_have_an_estimated_number_of_steps(tiny: Path, many: Path) -> None:
    streamed = dry_run(config(tiny, many, steps=None, epochs=2, **STREAM))
    prepared = dry_run(config(tiny, many, steps=None, epochs=2))
    assert streamed["steps"] == pytest.approx(prepared["steps"], rel=0.15)


def test_another_number_of_lanes_is_another_run(tiny: Path, many: Path, tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        train(config(tiny, many, **STREAM), out=tmp_path / "run", bus=Bus([SignalAt(2)]))
    with pytest.raises(ResumeError, match=r"data\.lanes"):
        train(config(tiny, many, data__streaming=True, data__lanes=3), out=tmp_path / "run", bus=Bus())
    assert torch.isfinite(torch.tensor(load_run(tmp_path / "run").history[-1]["loss"]))


@pytest.mark.parametrize(("factor", "warns"), [(1.0, False), (0.4, True), (2.5, True)])
def test_training_ends_with_the_rows_whatever_was_expected(
    tiny: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, warns: bool
) -> None:
    exact = dry_run(config(tiny, many, steps=None, data__shuffle="block", data__lanes=2))["steps"]

    class Heard:
        codes: list[str] = []  # noqa: RUF012

        def emit(self, event: Any) -> None:
            if event.event == "warned":
                self.codes.append(event.code)

        def close(self) -> None: ...

    Heard.codes = []
    monkeypatch.setattr(data.Stream, "estimate", lambda stream: {"windows": 4 * exact * factor, "tokens": 1.0})
    run = config(tiny, many, steps=None, checkpoint__every=1000, **STREAM)
    if warns:
        with pytest.raises(Preempted):
            train(run, out=tmp_path / "run", bus=Bus([SignalAt(exact * 3 // 4)]))
    train(run, out=tmp_path / "run", bus=Bus([Heard()]))
    record = load_run(tmp_path / "run").record
    assert (record["progress"]["step"], record["total_steps"]) == (exact, exact)
    assert ("run.length-estimate" in Heard.codes) == warns
    events = load_run(tmp_path / "run").history
    assert events[-1]["total_steps"] == exact
