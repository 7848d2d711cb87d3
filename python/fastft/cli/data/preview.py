"""Show rows as the model gets them, and which tokens carry a loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fastft.cli import console
from fastft.cli.data.progress import Progress
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.errors import DataError
from fastft.core.events import Bus


@click.command("preview")
@config_argument
@set_option
@click.option("--rows", type=click.IntRange(min=1), default=3, show_default=True, help="How many rows of each source.")
@json_option
def command(config: Path, overrides: tuple[str, ...], rows: int, as_json: bool) -> None:
    """Show rows as the model gets them, and which tokens carry a loss.

    Trained text is green; where there is no colour it stands between >> and <<. With --json: one
    object a line with source, row, text, ids and trained (0 or 1 for each id).
    """
    from fastft.config.load import load
    from fastft.data import preview as preview_rows
    from fastft.models import tokenizer_files

    loaded = load(config, overrides, files=True)
    files = tokenizer_files(loaded.config.model)
    decode = _decoder(files.folder)
    found = preview_rows(
        loaded.config.data, loaded.config.stage, files, rows=rows, config_dir=loaded.folder, bus=Bus([Progress()])
    )
    shown = 0
    for row in found:
        shown += 1
        if as_json:
            console.out_json(
                {
                    "source": row.source,
                    "row": row.row,
                    "text": row.text,
                    "ids": [int(i) for i in row.ids],
                    "trained": [int(t) for t in row.trained],
                }
            )
        else:
            trained = sum(map(int, row.trained))
            console.out(console.style(f"{row.source}, row {row.row}", "bold", console.stdout()))
            console.out(painted(row.ids, row.trained, decode))
            console.out(console.style(f"{len(row.ids)} tokens, {trained} trained", "dim", console.stdout()) + "\n")
    if not shown:
        raise DataError(
            "no row of any source can be used",
            hint="the reasons stand above; `fastft data check` lists them all",
            code="data.empty",
        )


def painted(ids: Sequence[int], trained: Sequence[Any], decode: Any) -> str:
    """The decoded tokens, runs with a loss marked.

    Args:
        ids: the row's token ids.
        trained: for each id, whether it carries a loss.
        decode: ids -> text.
    """
    parts, begin = [], 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or bool(trained[end]) != bool(trained[begin]):
            text = decode(list(ids[begin:end]))
            parts.append(_marked(text) if trained[begin] else text)
            begin = end
    return "".join(parts)


def _marked(text: str) -> str:
    if not console.colored(console.stdout()):
        return f">>{text}<<"
    return "\n".join(console.style(line, "green", console.stdout()) for line in text.split("\n"))


def _decoder(folder: Path) -> Any:
    """Ids -> text by `tokenizers` alone, which is a fraction of transformers' import."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
