"""Write a run as a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastft.cli import console
from fastft.cli.options import json_option


@click.command("export")
@click.argument("run")
@click.option(
    "--merge",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Merge the adapter into its base model, check the logits, and write the folder.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Type of the weights written.",
)
@json_option
def command(run: str, folder: Path, dtype: Literal["float32", "bfloat16"], as_json: bool) -> None:
    """Write a run as a folder that other tools load.

    The folder appears only when the merged model's logits equal the adapted model's.
    """
    from dataclasses import asdict

    from fastft.cli.chat import located
    from fastft.core.units import format_bytes, format_count
    from fastft.export.merged import export_merged

    done = export_merged(located(run), folder, dtype=dtype)
    if as_json:
        console.out_json(asdict(done))
        return
    console.out(str(done.path))
    console.say(
        f"{format_count(done.parameters)} parameters, {done.dtype}, {format_bytes(done.size_bytes)}; "
        f"largest difference of a logit {done.difference:.1e}"
    )
