"""Write prepared rows as files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.data import _road
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.units import count

if TYPE_CHECKING:
    from fastft.config.load import Loaded
    from fastft.data import TokenStore


@click.command("export")
@config_argument
@set_option
@click.option(
    "--to",
    "kind",
    type=click.Choice(["parquet", "datasets", "megatron"]),
    required=True,
    help="A Parquet file, a folder of datasets' load_from_disk, or Megatron's PREFIX.bin and .idx.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New file or folder, or Megatron's PREFIX.")
@click.option("--part", type=click.Choice(["train", "eval"]), default="train", show_default=True, help="Which rows.")
@click.option("--packed", is_flag=True, help="Windows of data.max_length, as the first epoch has them, not rows.")
@click.option(
    "--loss-mask",
    type=click.Choice(["refuse", "drop", "file"]),
    default="refuse",
    show_default=True,
    help="Megatron learns from all tokens. Where the rows do not: an error, lost, or a file beside.",
)
@json_option
def command(
    config: Path,
    overrides: tuple[str, ...],
    kind: str,
    out: Path,
    part: str,
    packed: bool,
    loss_mask: str,
    as_json: bool,
) -> None:
    """Write prepared rows as files of other tools.

    Columns are input_ids, labels (-100 where there is no loss) and where each row comes from. Prepares the data when
    that was not done yet.
    """
    if loss_mask != "refuse" and kind != "megatron":
        raise click.UsageError("--loss-mask is for --to megatron; the others keep the labels")
    loaded = _road.loaded_config(config, overrides)
    prepared, _ = _road.prepare(loaded)
    store = prepared.train if part == "train" else prepared.eval
    if store is None:
        raise click.UsageError("the config has no evaluation rows: neither data.eval nor eval.fraction")
    rows = _write(kind, store, out, _packing(loaded) if packed else None, loss_mask)
    if as_json:
        console.out_json({"out": str(out), "rows": rows, "key": prepared.key})
    else:
        console.out(f"{out}: {count(rows, 'window' if packed else 'row')}")


def _packing(loaded: Loaded) -> Any:
    from fastft.data.export import Packing

    data = loaded.config.data
    return Packing(data.max_length, loaded.config.seed if data.seed is None else data.seed)


def _write(kind: str, store: TokenStore, out: Path, packing: Any, loss_mask: Any) -> int:
    from fastft.data import export

    if kind == "parquet":
        return export.to_parquet(store, out, packing=packing)
    if kind == "datasets":
        return export.to_datasets(store, out, packing=packing)
    return export.to_megatron(store, out, packing=packing, loss_mask=loss_mask)
