"""Write a run as a folder that other tools load."""

from __future__ import annotations

from pathlib import Path

import click

from fastft.cli import console


@click.command("export")
@click.argument("run")
@click.option(
    "--merge",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Merge the adapter into its base model, check the logits, and write the folder.",
)
def command(run: str, folder: Path) -> None:
    """Write a run as a folder that other tools load.

    The folder appears only when the merged model's logits equal the adapted model's.
    """
    from fastft.export import export_merged
    from fastft.run.registry import load_run

    written = export_merged(load_run(run).path, folder)
    console.out(str(written))
