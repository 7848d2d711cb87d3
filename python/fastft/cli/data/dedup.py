"""Write the rows without duplicates, and of which the others are."""

from __future__ import annotations

from pathlib import Path

import click

from fastft.cli.data import _sifting
from fastft.cli.options import config_argument, json_option, set_option


@click.command("dedup")
@config_argument
@set_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="New JSONL file of kept rows."
)
@json_option
def command(config: Path, overrides: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write the rows without duplicates, and of which the others are.

    What counts as a duplicate says `data.dedup`; without it, the same text. The first row stays, byte for byte; each
    other one stands in OUT's neighbour NAME.dropped.jsonl with its place and that of the row it is like.
    """
    from fastft.data.sift import dedup

    _sifting.run(dedup, config, overrides, out, as_json)
