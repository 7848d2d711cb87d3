"""Show rows as the model gets them, and which tokens carry a loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fastft.cli import console
from fastft.cli.data.progress import Progress
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.errors import DataError
from fastft.core.events import Bus

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command("preview")
@config_argument
@set_option
@click.option("--rows", type=click.IntRange(min=1), default=3, show_default=True, help="How many rows of each source.")
@json_option
def command(config: Path, overrides: tuple[str, ...], rows: int, as_json: bool) -> None:
    """Show rows as the model gets them, and which tokens carry a loss.

    Trained text is green; where there is no colour it stands between >> and <<. With --json: one
    object a line with source, row, text, ids and trained (0 or 1 for each id).

    Rows are shown whole: what `data.clean`, `data.dedup` and `data.augment` would change or leave out is not, and a
    row that is longer than `data.max_length` says so.
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
            length = loaded.config.data.max_length
            long = (
                f", longer than max_length = {length:,}: {loaded.config.data.truncate}" if len(row.ids) > length else ""
            )
            console.out(
                console.style(f"{len(row.ids)} tokens, {trained} trained{long}", "dim", console.stdout()) + "\n"
            )
    changed = [name for name in ("clean", "decontaminate", "dedup", "augment") if getattr(loaded.config.data, name)]
    if changed and not as_json:
        console.say(f"shown as they were before {', '.join(f'`data.{name}`' for name in changed)}")
    if not shown:
        raise DataError(
            "no row of any source can be used",
            hint="the reasons stand above; `fastft data check --tokens --all` lists them all",
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
            text = printable(decode(list(ids[begin:end])))
            parts.append(_marked(text) if trained[begin] else text)
            begin = end
    return "".join(parts)


def printable(text: str) -> str:
    """The text with control characters written out, so that no row moves the cursor or clears the screen."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _marked(text: str) -> str:
    if not console.colored(console.stdout()):
        return f">>{text}<<"
    return "\n".join(console.style(line, "green", console.stdout()) for line in text.split("\n"))


def _decoder(folder: Path) -> Any:
    """Ids -> text by `tokenizers` alone, which is a fraction of transformers' import."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
