"""Make one store of what the shards have done."""

from __future__ import annotations

from pathlib import Path

import click

from fastft.cli import console
from fastft.cli.options import json_option


@click.command("commit")
@click.argument("store", type=click.Path(path_type=Path))
@json_option
def command(store: Path, as_json: bool) -> None:
    """Make one store of what the shards have done.

    The bytes are those that one machine would have made. Training with this cache (FASTFT_CACHE) finds the store.
    """
    from fastft.data import shards

    keys = shards.commit(shards.Job.read(store))
    if as_json:
        console.out_json({"store": str(store), "key": "-".join(keys)})
    else:
        console.out(f"{store}: key {'-'.join(keys)}")
