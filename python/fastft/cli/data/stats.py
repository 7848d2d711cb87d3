"""Say how much there is, how long rows are, and what is cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastft.cli import console
from fastft.cli.data import _road
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.units import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastft.data import Stats
    from fastft.data.stats import Bucket

_BAR = 40
"""Columns of the longest bar."""


@click.command("stats")
@config_argument
@set_option
@json_option
def command(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say how much there is, how long rows are, and what is cut.

    Prepares the data when that was not done yet. With --json: one object with what `prepare --json` has, and books,
    lengths, mean, percentiles, cuts and packed.
    """
    from fastft.data import measure

    loaded = _road.loaded_config(config, overrides)
    prepared, cost = _road.prepare(loaded)
    stats = measure(prepared, loaded.config.data, loaded.config.seed)
    if as_json:
        from fastft.cli.data.prepare import summary

        console.out_json({**summary(loaded, prepared, cost), **stats.record()})
        return
    from fastft.cli.train import books_table

    for title, text in (
        ("rows", books_table(_road.table_data(prepared))),
        ("lengths, in tokens, before any cut", f"{picture(stats.lengths)}\n\n{_percentiles(stats)}"),
        ("what max_length cuts", _cuts(stats, loaded.config.data.max_length)),
        ("an epoch", _epoch(stats)),
    ):
        console.out(console.style(f"# {title}", "bold", console.stdout()))
        console.out(text)
        console.out()
    many = f"{count(stats.packed.windows, 'window')} of {count(loaded.config.data.max_length, 'token')}"
    console.out(f"packed: {many}, {stats.packed.fill:.1%} full")
    if prepared.plan.ids is not None:
        console.out(f"ids by: {prepared.plan.ids.engine}")


def picture(lengths: Sequence[Bucket]) -> str:
    """Rows by length as bars, one a power of two; ASCII where the terminal has no blocks."""
    counts: dict[int, int] = {}
    for bucket in lengths:
        top = 1 << max(0, bucket.bound - 1).bit_length()
        counts[top] = counts.get(top, 0) + bucket.rows
    if not counts:
        return "no row"
    tops = [1 << power for power in range(min(counts).bit_length() - 1, max(counts).bit_length())]
    most, every = max(counts.values()), sum(counts.values())
    wide, deep = len(f"{tops[-1]:,}"), len(f"{most:,}")
    lines = []
    for top in tops:
        rows = counts.get(top, 0)
        lines.append(f"<= {top:>{wide},}  {rows:>{deep},}  {rows / every:>6.1%}  {_bar(rows / most)}".rstrip())
    return "\n".join(lines)


def _bar(part: float) -> str:
    encoding = (getattr(console.stdout(), "encoding", None) or "ascii").lower()
    if not encoding.startswith("utf"):
        return "#" * max(round(part * _BAR), part > 0)
    eighths = max(round(part * _BAR * 8), 1 if part > 0 else 0)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def _percentiles(stats: Stats) -> str:
    parts = [f"mean {stats.mean:,.0f}"]
    parts += [f"{percent} % <= {length:,}" for percent, length in stats.percentiles.items()]
    if stats.lengths:
        parts.append(f"longest <= {stats.lengths[-1].bound:,}")
    return ", ".join(parts)


def _cuts(stats: Stats, chosen: int) -> str:
    rows_in_all = sum(bucket.rows for bucket in stats.lengths) or 1
    tokens_in_all = sum(bucket.tokens for bucket in stats.lengths) or 1
    rows = []
    for cut in stats.cuts:
        about = "" if cut.exact else "about "
        rows.append(
            [
                f"{cut.max_length:,}{' (set)' if cut.max_length == chosen else ''}",
                f"{about}{cut.rows:,} ({cut.rows / rows_in_all:.1%})",
                f"{about}{cut.tokens:,} ({cut.tokens / tokens_in_all:.1%})",
                f"{about}{cut.whole_tokens:,} ({cut.whole_tokens / tokens_in_all:.1%})",
            ]
        )
    return console.table(rows, ["max_length", "rows longer", "tokens cut off", "tokens of these rows"])


def _epoch(stats: Stats) -> str:
    rows = [
        [each["source"], f"{each['documents']:,}", f"{each['tokens']:,}", f"{each['share']:.1%}"]
        for each in stats.packed.sources
    ]
    return console.table(rows, ["source", "documents", "tokens", "share"])
