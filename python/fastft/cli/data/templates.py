"""List the built-in chat templates, or print one."""

from __future__ import annotations

import dataclasses

import click

from fastft.cli import console
from fastft.cli.options import json_option


@click.command("templates")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the built-in chat templates; with NAME, print that one as Jinja.

    `data.template` takes a name or another name of it; `auto` is the tokenizer's own template. With --json: a list
    of objects with name, aliases, end, default_system, tools, thinking and note.
    """
    from fastft.core.errors import NotFoundError
    from fastft.core.registry import closest
    from fastft.data.templates import catalog, table

    rows = table()
    if name is not None:
        known = catalog.resolve(name)
        if known is None:
            near = closest(name, catalog.every_name())
            hint = f"did you mean `{near}`?" if near else "`fastft data templates` lists them"
            raise NotFoundError(f"there is no built-in chat template `{name}`", hint=hint)
        rows = [row for row in rows if row.name == known]
    if as_json:
        console.out_json([dataclasses.asdict(row) for row in rows])
    elif name is not None:
        console.out(catalog.source(rows[0].name).rstrip("\n"))
    else:
        cells = [
            (
                row.name,
                ", ".join(row.aliases),
                " ".join(row.end),
                ", ".join(can for can, it in (("tools", row.tools), ("thinking", row.thinking)) if it),
                row.note,
            )
            for row in rows
        ]
        console.out(console.table(cells, ("name", "also", "end", "can", "of")))
