"""Show rows as the model gets them, and which tokens carry a loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.data._road import loaded_config
from fastft.cli.data.progress import Progress
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.errors import DataError
from fastft.core.events import Bus
from fastft.core.units import count

if TYPE_CHECKING:
    from fastft.data.inspect import PreviewRow, RejectedRow

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command("preview")
@config_argument
@set_option
@click.option("--rows", type=click.IntRange(min=1), default=3, show_default=True, help="How many rows of each source.")
@json_option
def command(config: Path, overrides: tuple[str, ...], rows: int, as_json: bool) -> None:
    """Show rows as the model gets them, and which tokens carry a loss.

    Trained text is green; where there is no colour it stands between >> and <<. Rows are repaired, masked and cut as
    in training, and altered copies stand behind them. A row that a rule leaves out is named with the rule and shown
    as it was. Duplicates are not looked for: that takes all rows.

    With --json: one object a line with source, row (from 0), text, ids, trained (0 or 1 for each id), changed (repairs
    and masks), cut (tokens taken away), copy (0 for the row itself), file, line (from 1), dropped (the rule, or null)
    and detail. A row that can't be used is an object with source, row, file, line, path, code and reason.
    """
    from fastft.config.augmentation import EndpointAugmentation
    from fastft.data import preview as preview_rows
    from fastft.models import tokenizer_files

    loaded = loaded_config(config, overrides)
    data = loaded.config.data
    files = tokenizer_files(loaded.config.model)
    decode = _decoder(files.folder)
    options: dict[str, Any] = {"seed": loaded.config.seed, "config_dir": loaded.folder, "bus": Bus([Progress()])}
    # in the order of the data: those that can't be used stand between the others
    every: list[PreviewRow | RejectedRow] = []
    with loaded.placing():
        found = []
        for row in preview_rows(data, loaded.config.stage, files, rows=rows, rejected=every.append, **options):
            found.append(row)
            every.append(row)
    if as_json:
        for each in every:
            console.out_json(asdict(each))
    else:
        for row in found:
            console.out(console.style(_title(row), "bold" if row.dropped is None else "yellow", console.stdout()))
            console.out(painted(row.ids, row.trained, decode) if row.ids else printable(row.text))
            console.out(console.style(_facts(row, data.truncate), "dim", console.stdout()) + "\n")
    if not as_json and data.dedup is not None:
        console.say("duplicates are not looked for here: that takes all rows")
    if not as_json and any(isinstance(table, EndpointAugmentation) for table in data.augment):
        console.say("copies that an endpoint writes are made by `fastft data prepare`")
    if not found:
        raise DataError(
            "no row of any source can be used",
            hint="the reasons stand above; `fastft data check --tokens --all` lists them all",
            code="data.empty",
        )


def _title(row: PreviewRow) -> str:
    """Which row it is, which copy of it, and the rule that leaves it out."""
    title = f"{row.source}, {printable(row.place)}" + (f", copy {row.copy}" if row.copy else "")
    if row.dropped is None:
        return title
    detail = f" ({printable(row.detail)})" if row.detail else ""
    return f"{title}: left out by {row.dropped}{detail}"


def _facts(row: PreviewRow, truncate: str) -> str:
    """How long it is, how much of it is trained, and what changed it."""
    facts = [count(len(row.ids), "token"), f"{sum(row.trained):,} trained"]
    facts += [f"changed by {', '.join(row.changed)}"] if row.changed else []
    facts += [f'{count(row.cut, "token")} cut off by `truncate = "{truncate}"`'] if row.cut else []
    return ", ".join(facts)


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
