"""What `clean` and `dedup` share: files beside each other, books as a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastft.cli import console
from fastft.cli.data import _road
from fastft.cli.data.progress import Progress
from fastft.core.events import Bus
from fastft.core.units import count


def run(
    sift: Callable[..., list[dict[str, Any]]], config: Path, overrides: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Sift the rows of a config into `out` and the file of dropped rows beside it, and print the books."""
    loaded = _road.loaded_config(config, overrides)
    dropped = out.with_name(f"{out.stem}.dropped.jsonl")
    progress = Progress()
    try:
        with loaded.placing():
            books = sift(
                loaded.config.data, loaded.config.stage, out, dropped, config_dir=loaded.folder, bus=Bus([progress])
            )
    finally:
        progress.close()
    if as_json:
        console.out_json({"kept": str(out), "dropped": str(dropped), "sources": books})
        return
    header = ["source", "read", "kept", "repaired", "filtered", "duplicates", "can't be used"]
    console.out(console.table([_row(book) for book in books], header))
    console.say(f"kept rows: {out}\nthe others, with their reasons: {dropped}")
    if unrepaired := sum(book["unrepaired"] for book in books):
        console.say(
            f"{console.style('warning', 'yellow')}[data.unrepaired]: {count(unrepaired, 'row')} left as before: the "
            "repair crosses fields of a row; training makes it all the same"
        )


def _row(book: dict[str, Any]) -> list[str]:
    named = [
        ", ".join(f"{count:,} {name}" for name, count in book[part].items())
        for part in ("repaired", "filtered", "duplicates", "quarantined")
    ]
    return [book["name"], f"{book['read']:,}", f"{book['kept']:,}", *named]
