"""Plan a preparation that several machines share."""

from __future__ import annotations

from pathlib import Path

import click

from fastft.cli import console
from fastft.cli.data import _road
from fastft.cli.data.progress import Progress
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.events import Bus
from fastft.core.units import count


@click.command("plan")
@config_argument
@set_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="New folder on a disk that all machines see; becomes the store.",
)
@json_option
def command(config: Path, overrides: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Plan a preparation that several machines share.

    Then `fastft data run OUT --shard 0/8`, ..., `--shard 7/8` in any order, anywhere that sees OUT and the data
    under the same paths, and `fastft data commit OUT` at the end.
    """
    from fastft.data import shards
    from fastft.models import tokenizer_files

    loaded = _road.loaded_config(config, overrides)
    progress = Progress()
    try:
        with loaded.placing():
            units = shards.plan(
                loaded.config,
                tokenizer_files(loaded.config.model),
                out,
                config_dir=loaded.folder,
                bus=Bus([progress]),
            )
    finally:
        progress.close()
    if as_json:
        console.out_json({"store": str(out), "units": units})
    else:
        console.out(f"{out}: {count(units, 'unit')}; any number of shards up to that has work")
