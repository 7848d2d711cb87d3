"""List runs and look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastft.cli import console
from fastft.cli.options import json_option


@click.group("runs")
def command() -> None:
    """List runs and look at one."""


@command.command("list")
@click.option("--root", type=click.Path(path_type=Path), help="Look here instead of in the runs folder.")
@json_option
def list_command(root: Path | None, as_json: bool) -> None:
    """List runs, newest first."""
    from fastft.core.paths import runs_folder
    from fastft.run.registry import list_runs

    found = [run.summary() for run in list_runs(root)]
    if as_json:
        console.out_json(found)
    elif not found:
        console.say(f"no runs in {root or runs_folder()}")
    else:
        header = ["run", "status", "steps", "loss", "eval", "stage", "model", "began"]
        console.out(console.table([_row(run) for run in found], header))


@command.command("show")
@click.argument("run")
@json_option
def show_command(run: str, as_json: bool) -> None:
    """Say what a run is, on what it ran and how it went.

    RUN is a folder, a run's NAME/TIME, or a name: then its newest run.
    """
    from fastft.run.registry import load_run

    found = load_run(run)
    record, summary = found.record, found.summary()
    if as_json:
        checkpoints = [{"path": str(point.path), "step": point.step} for point in found.checkpoints()]
        console.out_json({**record, **summary, "checkpoints": checkpoints})
        return
    rows = [
        ["run", str(found.path)],
        ["status", summary["status"]],
        ["began", str(summary["created"])],
        ["what", f"{summary['stage']}, {summary['method']}, {summary['model']}"],
        ["steps", _steps(summary)],
    ]
    if summary["loss"] is not None:
        rows.append(["loss", _number(summary["loss"])])
    if summary["eval_loss"] is not None:
        rows.append(["eval loss", _number(summary["eval_loss"])])
    if summary["tokens"]:
        rows.append(["tokens", f"{summary['tokens']:,}"])
    if error := record.get("error"):
        rows.append(["error", f"{error['code']}: {error['message']}"])
    if plan := record.get("plan"):
        rows.append(
            [
                "device",
                f"{plan['device_name']}, {plan['dtype']}, {plan['world']} process{'' if plan['world'] == 1 else 'es'}",
            ]
        )
    if versions := record.get("versions"):
        rows.append(["versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
    if found.final.is_dir():
        rows.append(["result", str(found.final)])
    rows += [["checkpoint", str(point.path)] for point in found.checkpoints()]
    console.out(console.table(rows))


def _row(run: dict[str, Any]) -> list[str]:
    return [
        run["path"],
        run["status"],
        _steps(run),
        _number(run["loss"]),
        _number(run["eval_loss"]),
        f"{run['stage']}/{run['method']}",
        Path(str(run["model"])).name,
        str(run["created"])[:16].replace("T", " "),
    ]


def _steps(run: dict[str, Any]) -> str:
    return f"{run['step']}/{run['total_steps']}" if run["total_steps"] else str(run["step"])


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else str(value or "")
