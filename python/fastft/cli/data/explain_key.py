"""Say why two configs, stores or runs have different data keys."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastft.cli import console
from fastft.cli.data._road import loaded_config
from fastft.cli.options import json_option, set_option
from fastft.core.errors import NotFoundError

if TYPE_CHECKING:
    from fastft.data.explain import Fields

_LONG = 48


@click.command("explain-key")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("two", type=click.Path(path_type=Path))
@set_option
@json_option
def command(one: Path, two: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say why two configs, stores or runs have different data keys.

    ONE and TWO are configs, folders of `data prepare --out`, or runs. --set changes the configs among them.
    """
    from fastft.data.explain import differences

    found = differences(_fields(one, overrides), _fields(two, overrides))
    if as_json:
        console.out_json({"same": not found, "differences": [asdict(each) for each in found]})
    elif not found:
        console.out("the same key: one serves for the other")
    else:
        rows = [[each.name, _short(each.one), _short(each.two)] for each in found]
        console.out(console.table(rows, ["field", _short(str(one)), _short(str(two))]))


def _fields(path: Path, overrides: tuple[str, ...]) -> Fields:
    from fastft.data import explain

    if path.is_dir():
        run = path / "data" / "manifest.json"
        if run.is_file() and not (path / "manifest.json").is_file():
            return explain.fields_of_store(Path(json.loads(run.read_text("utf-8"))["stores"][0]))
        return explain.fields_of_store(path)
    if not path.exists() and path.suffix != ".toml":
        raise NotFoundError(f"there is no config, store or run `{path}`")
    from fastft.models import tokenizer_files

    loaded = loaded_config(path, overrides)
    config, tokenizer = loaded.config, tokenizer_files(loaded.config.model)
    with loaded.placing():
        return explain.fields_of_config(
            config.data, config.stage, tokenizer, seed=config.seed, config_dir=loaded.folder
        )


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    return value if len(value) <= _LONG else f"{value[: _LONG - 3]}..."
