"""Make tokens of the rows, or find those made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.data import _road
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from fastft.config.load import Loaded
    from fastft.data import Prepared


@click.command("prepare")
@config_argument
@set_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Put the store into this new folder too.")
@click.option("--on", type=click.Choice(["ray"]), help="Spread the work over a Ray cluster; needs fastft[ray].")
@click.option(
    "--address", metavar="HOST:PORT", help="The cluster's, with --on ray; else RAY_ADDRESS, else this machine."
)
@json_option
def command(
    config: Path, overrides: tuple[str, ...], out: Path | None, on: str | None, address: str | None, as_json: bool
) -> None:
    """Make tokens of the rows, or find those made before.

    Training does this by itself; prepared before, it begins at once. With --json: one object with what became
    of the rows, how full the windows are, what it took, and the key of the store.
    """
    from fastft.data import publish

    if address is not None and on is None:
        raise click.UsageError("--address is of a Ray cluster: add --on ray")
    loaded = _road.loaded_config(config, overrides)
    if on == "ray":
        _road.prepare_on_ray(loaded, address)
    prepared, cost = _road.prepare(loaded)
    if out is not None:
        publish(prepared, out)
    books = summary(loaded, prepared, cost)
    if out is not None:
        books["store"] = str(out)
    if as_json:
        console.out_json(books)
        return
    from fastft.cli.train import books_table

    console.out(books_table(_road.table_data(prepared)))
    console.out()
    console.out(console.table(_rows(books, out or prepared.train.folder, prepared.cached)))


def summary(loaded: Loaded, prepared: Prepared, cost: _road.Cost) -> dict[str, Any]:
    """The books as one object, which scripts rely on."""
    from fastft.data import packed

    config = loaded.config
    total = prepared.books["total"]
    seed = config.seed if config.data.seed is None else config.data.seed
    windows = packed(prepared.train, config.data.max_length, config.data.packing, seed)
    return {
        "read": total["read"],
        "used": total["used"],
        "quarantined": total["quarantined"],
        "filtered": total["filtered"],
        "duplicates": sum(total.get("duplicates", {}).values()),
        "dropped": total["dropped"],
        "truncated": total["cut_rows"],
        "tokens": total["tokens"],
        "trained_tokens": total["trained_tokens"],
        "rows_packed": windows.documents,
        "windows": windows.windows,
        "fill": round(windows.fill, 6),
        "seconds": round(cost.seconds, 3),
        "cpu_seconds": round(cost.cpu_seconds, 3),
        "peak_bytes": cost.peak_bytes,
        "key": prepared.key,
        "cached": prepared.cached,
        "tokenizer": None if prepared.plan.ids is None else prepared.plan.ids.engine,
        "store": str(prepared.train.folder),
        **({"asked": prepared.books["asked"]} if "asked" in prepared.books else {}),
    }


def _rows(books: dict[str, Any], store: Path, cached: bool) -> list[list[str]]:
    took = f"{format_seconds(books['seconds'])}, {format_seconds(books['cpu_seconds'])} of CPU"
    return [
        ["windows", f"{books['windows']:,}, {books['fill']:.1%} full"],
        ["took", "nothing, it was there already" if cached else took],
        ["memory", f"{format_bytes(books['peak_bytes'])} at most"],
        ["store", str(store)],
    ]
