"""Show what an epoch is made of, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.data import _road
from fastft.cli.options import config_argument, json_option, set_option

if TYPE_CHECKING:
    from fastft.data.mixed import Sample


@click.command("mix")
@config_argument
@set_option
@click.option("--epoch", type=click.IntRange(min=0), default=0, show_default=True, help="Which epoch, from 0.")
@click.option("--rows", type=click.IntRange(min=0), default=10, show_default=True, help="How many rows to show.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="New JSONL file: place of every row.")
@json_option
def command(config: Path, overrides: tuple[str, ...], epoch: int, rows: int, out: Path | None, as_json: bool) -> None:
    """Show what an epoch is made of, and in which order.

    Sources are mixed as `data.mixing`, `repeat` and `weight` say. The order is that of rows before they are packed.
    With --json: one object with sources (documents, tokens, share) and rows.
    """
    from fastft.data.mixed import mixed

    loaded = _road.loaded_config(config, overrides)
    prepared, _ = _road.prepare(loaded)
    seed = loaded.config.seed if loaded.config.data.seed is None else loaded.config.data.seed
    mix = mixed(prepared.train, loaded.config.data, seed, epoch)
    if out is not None:
        mix.write(out)
    first = mix.first(rows)
    if as_json:
        console.out_json({"sources": mix.packed.sources, "rows": [sample.record() for sample in first]})
        return
    shown = [_source(each) for each in mix.packed.sources]
    console.out(console.table(shown, ["source", "documents", "tokens", "share"]))
    if first:
        console.out()
        console.out(console.table([_sample(sample) for sample in first], ["place", "source", "tokens", "row"]))


def _source(each: dict[str, Any]) -> list[str]:
    return [each["source"], f"{each['documents']:,}", f"{each['tokens']:,}", f"{each['share']:.1%}"]


def _sample(sample: Sample) -> list[str]:
    return [f"{sample.place:,}", sample.source, f"{sample.tokens:,}", f"{sample.file}:{sample.line}"]
