"""Train as a config says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.options import config_argument, json_option, set_option

if TYPE_CHECKING:
    from fastft.config.load import Loaded

_SET_ASIDE = ("quarantined", "dropped", "filtered", "duplicates")


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
    from fastft.cli.data._road import loaded_config

    loaded = loaded_config(config, overrides)
    if dry_run:
        _dry_run(loaded, as_json)
        return
    from fastft.run import train

    with loaded.placing():
        run = train(loaded.config, out=out, resume=resume, origins=loaded.origins, source=config)
    if as_json:
        console.out_json(run.summary())
    else:
        console.say(f"talk to it:  fastft chat {run.path}")


def _dry_run(loaded: Loaded, as_json: bool) -> None:
    from fastft.config.dump import dump
    from fastft.run import dry_run

    with loaded.placing():
        told = dry_run(loaded.config, source=loaded.path)
    if as_json:
        console.out_json(told)
        return
    console.out(dump(loaded.config, loaded.origins))
    console.out(_heading("data"))
    console.out(books_table(told["data"]))
    console.out()
    console.out(_heading("plan"))
    console.out(console.table(_plan_rows(told)))


def _heading(text: str) -> str:
    import sys

    return console.style(f"# {text}", "bold", sys.stdout)


def books_table(data: dict[str, Any]) -> str:
    """One line a source and one for all: how many rows were read, and what became of them."""
    books = data["books"]
    if "sources" not in books:
        return _streamed_table(data)
    formats = {source["name"]: source["format"]["kind"] for source in data["sources"]}
    header = ["source", "format", "read", "used", "set aside", "dropped", "filtered", "duplicates", "tokens", "trained"]
    names = [name for name in formats if name in books["sources"]]
    rows = [_books_row(name, formats[name], books["sources"][name]) for name in names]
    if len(rows) > 1:
        rows.append(_books_row("all", "", books["total"]))
    empty = [column for column in range(len(header)) if column > 3 and not any(row[column] for row in rows)]
    keep = [column for column in range(len(header)) if column not in empty]
    return console.table([[row[column] for column in keep] for row in rows], [header[column] for column in keep])


def _streamed_table(data: dict[str, Any]) -> str:
    """One line a source whose rows are read while they are trained on: nobody has counted them."""
    from fastft.core.units import format_bytes

    rows = [
        [source["name"], source["format"]["kind"], str(len(source["files"])), format_bytes(total)]
        for source in data["sources"]
        for total in [sum(file["bytes"] for file in source["files"])]
    ]
    return console.table(rows, ["source", "format", "files", "size"])


def _books_row(name: str, kind: str, books: dict[str, Any]) -> list[str]:
    reasons = [", ".join(f"{count:,} {code}" for code, count in books.get(part, {}).items()) for part in _SET_ASIDE]
    counts = [f"{books[part]:,}" for part in ("read", "used", "tokens", "trained_tokens")]
    return [name, kind, *counts[:2], *reasons, *counts[2:]]


def _plan_rows(told: dict[str, Any]) -> list[list[str]]:
    """The plan in a reader's words."""
    from fastft.core.units import count, format_bytes, format_count

    plan = told["plan"]
    device = f"{plan['device']} ({plan['device_name']}), {plan['dtype']}"
    rows = [
        ["device", device if plan["world"] == 1 else f"{plan['world']} x {device}"],
        ["steps", _steps(told)],
        ["a step", f"{count(plan['windows_per_step'], 'window')}, at most {count(plan['tokens_per_step'], 'token')}"],
        ["a pass", f"{count(plan['micro'], 'window')}, {count(plan['accumulation'], 'pass')} a step and process"],
    ]
    if plan["parameters"]:
        rows.append(["model", f"{format_count(plan['parameters'])} parameters"])
    if plan["estimated_bytes"]:
        rows.append(
            ["memory", f"about {format_bytes(plan['estimated_bytes'])} of {format_bytes(plan['memory_bytes'])}"]
        )
    return rows


def _steps(told: dict[str, Any]) -> str:
    about = "about " if told["estimated"] else ""
    steps = f"{told['steps']:,}" if told["config"].get("steps") else f"{about}{told['steps']:,}"
    return f"{steps}, {about}{told['steps_in_epoch']:,} an epoch"
