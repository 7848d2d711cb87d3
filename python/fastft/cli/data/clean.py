"""Write the rows that cleaning keeps, and why the others went."""

from __future__ import annotations

from pathlib import Path

import click

from fastft.cli.data import _sifting
from fastft.cli.options import config_argument, json_option, set_option


@click.command("clean")
@config_argument
@set_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="New JSONL file of kept rows."
)
@json_option
def command(config: Path, overrides: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write the rows that cleaning keeps, and why the others went.

    The rules are those of `data.clean` and `data.decontaminate`. Kept rows are what they were, byte for byte, unless
    a repair changed them; each other one stands in OUT's neighbour NAME.dropped.jsonl with its place, rule and reason.
    """
    from fastft.data.sift import clean

    _sifting.run(clean, config, overrides, out, as_json)
