"""Tell every row that can't be used, each with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastft.cli import console
from fastft.cli.data._road import Clock
from fastft.cli.data.progress import Progress
from fastft.cli.options import config_argument, json_option, set_option
from fastft.core.errors import ConfigError, DataError, Problem
from fastft.core.events import Bus
from fastft.core.units import count, format_rate, format_seconds

if TYPE_CHECKING:
    from fastft.config.schema import DataConfig, SourceConfig
    from fastft.data import Finding

SHOWN = 10
"""Findings of one code that are printed without `--all`; all are counted."""


@click.command("check")
@config_argument
@set_option
@click.option("--all", "every", is_flag=True, help=f"Print each finding, not only the first {SHOWN} of a code.")
@click.option("--tokens", is_flag=True, help="Render and tokenize each row too; needs the model's tokenizer.")
@json_option
def command(config: Path, overrides: tuple[str, ...], every: bool, tokens: bool, as_json: bool) -> None:
    """Tell every row that can't be used, each with its place.

    Findings are printed as they are made, as FILE:LINE:PATH; the counts come last. What the config asks for and
    `prepare` could not do, such as a pattern of `data.clean` that is none, is a finding too, with its key as PATH.
    Exit code 4 when there are any, 3 when the config is among them.
    With --json: one object with ok, sources, errors (rows by code), findings, and what `prepare --json` has as far as
    it is known without a store: read, quarantined, seconds, cpu_seconds and peak_bytes.
    """
    from fastft.config.files import file_problems, with_model_found
    from fastft.config.load import load
    from fastft.data import check
    from fastft.data.check import finding_of

    loaded = load(config, overrides)
    missing = [loaded.placed(problem) for problem in file_problems(loaded.config, loaded.folder)]
    tokenizer = None
    if tokens and not any(problem.key == "model.path" for problem in missing):
        from fastft.models import tokenizer_files

        tokenizer = tokenizer_files(with_model_found(loaded.config, loaded.folder).model)
    told = Findings(every, quiet=as_json)
    progress = Progress()
    clock = Clock()
    try:
        known = [finding_of(problem) for problem in missing]
        for finding in known:
            told.tell(finding, progress)
        sources = check(
            _there(loaded.config.data, missing),
            loaded.config.stage,
            found=lambda finding: told.tell(finding, progress, known),
            tokenizer=tokenizer,
            config_dir=loaded.folder,
            placed=loaded.placed,
            bus=Bus([progress]),
        )
    finally:
        progress.close()
    cost = clock.cost()
    if as_json:
        console.out_json(
            {
                "ok": not told.counts,
                "sources": sources,
                "errors": dict(sorted(told.counts.items())),
                "findings": [asdict(finding) for finding in told.kept],
                **_books(sources),
                "seconds": round(cost.seconds, 3),
                "cpu_seconds": round(cost.cpu_seconds, 3),
                "peak_bytes": cost.peak_bytes,
            }
        )
    else:
        _report(sources, told, cost.seconds)
    if told.counts:
        raise click.exceptions.Exit(ConfigError.exit_code if told.of_config.total() else DataError.exit_code)


def _there(data: DataConfig, missing: list[Problem]) -> DataConfig:
    """The data without the sources that are not there: they are told already."""
    keys = {problem.key for problem in missing}

    def kept(part: str, sources: list[SourceConfig]) -> list[SourceConfig]:
        return [source for index, source in enumerate(sources) if f"data.{part}.{index}.path" not in keys]

    return data.model_copy(update={"train": kept("train", data.train), "eval": kept("eval", data.eval)})


def _books(sources: list[dict[str, Any]]) -> dict[str, Any]:
    """What became of the rows, in the words of `prepare --json`; a source that can't be used at all has none."""
    bad: Counter[str] = Counter()
    for source in sources:
        bad.update({code: number for code, number in source["bad"].items() if source["read"] and code != "E_SOURCE"})
    read = sum(source["read"] for source in sources)
    return {"read": read, "quarantined": dict(sorted(bad.items()))}


class Findings:
    """Prints findings, or keeps them for JSON; counts all.

    Args:
        every: all, not only the first of each code.
        quiet: keep them instead of printing them.
    """

    def __init__(self, every: bool, quiet: bool) -> None:
        self._every, self._quiet = every, quiet
        self.counts: Counter[str] = Counter()
        self.of_config: Counter[str] = Counter()
        """Those of them that are of the config."""
        self.kept: list[Finding] = []

    @property
    def silent(self) -> int:
        """How many were counted only."""
        return 0 if self._every else sum(max(0, count - SHOWN) for count in self.rows.values())

    @property
    def rows(self) -> Counter[str]:
        """How many there are of rows and sources."""
        return self.counts - self.of_config

    def tell(self, finding: Finding, progress: Progress, known: Sequence[Finding] = ()) -> None:
        """Take one; what the config says at the place of a `known` one is told with that."""
        of_config = finding.source is None
        if of_config and any(finding.path == each.path for each in known):
            return
        self.counts[finding.code] += 1
        self.of_config[finding.code] += of_config
        if not self._every and not of_config and self.counts[finding.code] > SHOWN:
            return
        if self._quiet:
            self.kept.append(finding)
        else:
            progress.close()
            console.out(described(finding))
            console.flush()


def described(finding: Finding) -> str:
    """One line: place, code, what is wrong, what was probably meant."""
    text = f"{finding.place}: {console.style(finding.code, 'red', console.stdout())}: {finding.reason}"
    return text if finding.hint is None else f"{text}; {finding.hint}"


def _report(sources: list[dict[str, Any]], told: Findings, seconds: float) -> None:
    """Counts by code, then by source."""
    if told.silent:
        console.out(f"... and {told.silent:,} more of the same kinds; --all prints them")
    if told.rows:
        console.out()
        rows = [[code, f"{number:,}"] for code, number in told.rows.most_common()]
        console.out(console.table(rows, ["code", "rows"]))
    if told.counts:
        console.out()
    header = ["source", "format", "files", "rows", "can't be used"]
    long = any(source["too_long"] for source in sources)
    rows = [_source_row(source, long) for source in sources]
    console.out(console.table(rows, [*header, "too long"] if long else header))
    for source in sources:
        for sentence in source["warnings"]:
            console.say(f"{console.style('warning', 'yellow')}[data.source]: {sentence}")
    read, size = sum(source["read"] for source in sources), sum(source["bytes"] for source in sources)
    console.say(f"{count(read, 'row')} in {format_seconds(seconds)}, {format_rate(size / max(seconds, 1e-9))}")


def _source_row(source: dict[str, Any], long: bool) -> list[str]:
    name = source["name"] if source["part"] == "train" else f"{source['name']} (eval)"
    kind = source["format"]["kind"] + (", found" if source["guessed"] else "") if source["format"] else "?"
    bad = sum(source["bad"].values())
    row = [name, kind, f"{source['files']:,}", f"{source['read']:,}", f"{bad:,}"]
    return [*row, f"{source['too_long']:,}"] if long else row
