"""Train as a config says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.options import config_argument, json_option, set_option

if TYPE_CHECKING:
    from fastft.config.load import Loaded


@click.command("train")
@config_argument
@set_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The run's folder; else runs/NAME/TIME.")
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="auto|never|CHECKPOINT",
    help="Go on from the newest checkpoint in the run's folder, begin anew, or go on from the one named.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done: config, data, plan. Leaves no run behind.")
@json_option
def command(
    config: Path, overrides: tuple[str, ...], out: Path | None, resume: str, dry_run: bool, as_json: bool
) -> None:
    """Train as a config says.

    With --json, the last line of stdout is the run: its path, status, steps and losses.
    """
    from fastft.config.load import load

    loaded = load(config, overrides, files=True)
    if dry_run:
        _dry_run(loaded, as_json)
        return
    from fastft.run import train

    run = train(loaded.config, out=out, resume=resume, origins=loaded.origins, source=config)
    if as_json:
        console.out_json(run.summary())
    else:
        console.say(f"talk to it:  fastft chat {run.path}")


def _dry_run(loaded: Loaded, as_json: bool) -> None:
    from fastft.config.dump import dump
    from fastft.run import dry_run

    told = dry_run(loaded.config, source=loaded.path)
    if as_json:
        console.out_json(told)
        return
    console.out(dump(loaded.config, loaded.origins))
    console.out(_heading("data"))
    console.out(console.table(_data_rows(told["data"])))
    console.out()
    console.out(_heading("plan"))
    console.out(console.table(_plan_rows(told)))


def _heading(text: str) -> str:
    import sys

    return console.style(f"# {text}", "bold", sys.stdout)


def _data_rows(data: dict[str, Any]) -> list[list[str]]:
    """One line a source, then the books: what became of the rows."""
    from fastft.core.units import format_bytes

    rows = []
    for source in data["sources"]:
        size = format_bytes(source["bytes"]) if "bytes" in source else ""
        count = f"{source['rows']:,} rows" if "rows" in source else ""
        rows.append([str(source.get("path", "")), ", ".join(word for word in (count, size) if word)])
    rows += [[name.replace("_", " "), f"{value:,}"] for name, value in _numbers(data["books"])]
    return rows


def _numbers(books: dict[str, Any], prefix: str = "") -> list[tuple[str, int]]:
    """The counts of the books, those of tables in them below their name."""
    found: list[tuple[str, int]] = []
    for name, value in books.items():
        if isinstance(value, int) and not isinstance(value, bool):
            found.append((prefix + name, value))
        elif isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name} ")
    return found


def _plan_rows(told: dict[str, Any]) -> list[list[str]]:
    """The plan in a reader's words."""
    from fastft.core.units import format_bytes, format_count

    plan = told["plan"]
    device = f"{plan['device']} ({plan['device_name']}), {plan['dtype']}"
    rows = [
        ["device", device if plan["world"] == 1 else f"{plan['world']} x {device}"],
        ["steps", f"{told['steps']:,}, {told['steps_in_epoch']:,} an epoch"],
        ["a step", f"{plan['windows_per_step']} windows, at most {plan['tokens_per_step']:,} tokens"],
        ["a pass", f"{plan['micro']} windows, {plan['accumulation']} passes a step and process"],
    ]
    if plan["parameters"]:
        rows.append(["model", f"{format_count(plan['parameters'])} parameters"])
    if plan["estimated_bytes"]:
        rows.append(
            ["memory", f"about {format_bytes(plan['estimated_bytes'])} of {format_bytes(plan['memory_bytes'])}"]
        )
    return rows
