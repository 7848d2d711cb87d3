"""Tokenizing: fastft against every engine that is installed, ids compared with those of `tokenizers`.

Each measurement is a process of its own; engines take turns inside a round, and ratios are taken inside a round. What is
compared is CPU seconds (user + system, all threads) from a list of texts to their ids; with two threads, time by the
clock. An engine that is absent, refuses a tokenizer or gives other ids is told as such.

    python benches/tokenizer/bench.py [--install] [--tokenizers FOLDER] [--corpus FOLDER] [--texts KIND=FILE]...
        [--megabytes N] [--rounds N] [--kinds KIND...] [--only NAME...] [--two-threads [KIND...]] [--json]
    python benches/tokenizer/bench.py --table [PAGE.md]

Texts: rows of `--texts KIND=FILE` (JSON lines or a JSON array, .gz and .xz as well; `text`, or a conversation), else en,
code and multilingual from `--corpus` (rows of `text`, `kind`, `lang`), else from what this machine has.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benches/
from engines import ENGINES, OURS, REFERENCE
from figures import Round, cell, loads, means, rival
from keeping import ROOT, keep
from sides import Sides, folder, install
from table import markdown, show, write_page
from texts import KINDS, draw

RESULT = ROOT / "benches" / "results" / "tokenizer.json"


def main() -> None:
    chosen = arguments()
    if chosen.table:
        found = json.loads(chosen.out.read_text("utf-8"))
        print(markdown(found), end="") if chosen.table == "-" else write_page(Path(chosen.table), found)
        return
    if chosen.install:
        install(chosen.engines)
        return
    found = keep("tokenizer", run(chosen), target=chosen.out)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", type=Path, help="folder of NAME/tokenizer.json; else the embedded SmolLM2's")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these of the folder's tokenizers")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--texts", action="append", default=[], metavar="KIND=FILE", type=named_file)
    parser.add_argument("--corpus", type=Path, help="folder of JSONL with `text`, `kind` and `lang`")
    parser.add_argument("--megabytes", type=float, default=5, help="of each kind (default 5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--two-threads", nargs="*", choices=KINDS, default=list(KINDS), help="kinds also measured so")
    parser.add_argument("--engines", type=Path, default=folder(), help="folder of the engines' environments")
    parser.add_argument("--install", action="store_true", help="make these environments, and end")
    parser.add_argument("--table", nargs="?", const="-", metavar="PAGE", help="the kept result as Markdown, and end")
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result is kept")
    parser.add_argument("--json", action="store_true", help="print the JSON that is kept")
    return parser.parse_args()


def named_file(word: str) -> tuple[str, Path]:
    kind, mark, file = word.partition("=")
    if kind not in KINDS or not mark or not Path(file).is_file():
        raise argparse.ArgumentTypeError(f"`{word}` is not KIND=FILE with a kind of {', '.join(KINDS)} and a file")
    return kind, Path(file)


def tokenizers(chosen: argparse.Namespace) -> dict[str, Path]:
    """Name -> tokenizer.json."""
    if chosen.tokenizers is None:
        sys.path.insert(0, str(ROOT / "python"))
        from fastft.models import resolve

        return {"smollm2": Path(str(resolve("embedded:smollm2-135m"))) / "tokenizer.json"}
    found = {file.parent.name: file.resolve() for file in sorted(chosen.tokenizers.glob("*/tokenizer.json"))}
    if missing := [name for name in chosen.only or () if name not in found]:
        raise SystemExit(f"`{chosen.tokenizers}` has no {', '.join(missing)}; it has {', '.join(found) or 'nothing'}")
    return {name: found[name] for name in chosen.only or found}


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    names, meter = tokenizers(chosen), Meter()
    single: dict[tuple[str, str], list[Round]] = {(name, kind): [] for name in names for kind in chosen.kinds}
    double: dict[tuple[str, str], list[Round]] = {key: [] for key in single}
    load: dict[str, list[Round]] = {name: [] for name in names}
    about: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        files = {}
        for kind in chosen.kinds:
            given = [file for named, file in chosen.texts if named == kind]
            texts, source = draw(kind, int(chosen.megabytes * 1e6), given, chosen.corpus)
            files[kind] = Path(work) / f"{kind}.json"
            files[kind].write_text(json.dumps(texts), encoding="utf-8")
            about[kind] = {"bytes": sum(len(text.encode()) for text in texts), "texts": len(texts), "source": source}
        with Sides(chosen.engines, list(ENGINES)) as sides:
            versions = sides.versions
            for number in range(chosen.rounds):
                for name, path in names.items():
                    pair = (REFERENCE, OURS) if number % 2 else (OURS, REFERENCE)
                    load[name].append({side: sides.ask(side, path, None, 1, cores(1, number)) for side in pair})
                    for kind in chosen.kinds:
                        begin, key = time.monotonic(), (name, kind)
                        for threads, rounds in ((1, single[key]), (2, double[key])):
                            if threads == 1 or kind in chosen.two_threads:
                                rounds.append(one_round(sides, path, files[kind], threads, number, single[key]))
                        spent = time.monotonic() - begin
                        print(f"round {number + 1}: {name}, {kind}: {spent:.0f} s", file=sys.stderr, flush=True)
    cells = [{"tokenizer": key[0], "kind": key[1], **cell(single[key], double[key])} for key in single]
    return {
        "texts": about,
        "rounds": chosen.rounds,
        "engines": {name: {"version": version} for name, version in versions.items()},
        "other_load": meter.others(),
        "cells": cells,
        "means": means(cells),
        "load": {name: loads(rounds) for name, rounds in load.items()},
    }


def one_round(sides: Sides, path: Path, texts: Path, threads: int, number: int, before: list[Round]) -> Round:
    """Each engine once, one after the other, in an order of this round's own.

    Of engines that `before` tells to be no rivals, nothing more is asked.
    """
    known = before[0] if before else None
    order = [name for name in ENGINES if known is None or rival(known, name)]
    random.Random(f"{number} {path} {threads}").shuffle(order)
    found = {name: sides.ask(name, path, texts, threads, cores(threads, number)) for name in order}
    if found[REFERENCE]["state"] != "measured":
        raise SystemExit(f"the reference {found[REFERENCE]['state']} `{path}`: {found[REFERENCE].get('reason', '')}")
    return {name: found[name] for name in ENGINES if name in found}


def cores(threads: int, number: int) -> list[int]:
    """The cores that a measurement may use: others in each round."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    all_cores = sorted(os.sched_getaffinity(0))
    return [all_cores[(number + each) % len(all_cores)] for each in range(min(threads, len(all_cores)))]


class Meter:
    """How many cores other processes kept busy, from now until asked."""

    def __init__(self) -> None:
        self._begin = (time.monotonic(), self._machine(), self._own())

    def others(self) -> float:
        wall, machine, own = self._begin
        busy = (self._machine() - machine) - (self._own() - own)
        return round(max(0.0, busy / (time.monotonic() - wall)), 2)

    @staticmethod
    def _machine() -> float:
        """CPU seconds of all processes since the machine started."""
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        user, nice, system, _, _, irq, softirq, *_ = fields
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _own() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in both)


if __name__ == "__main__":
    main()
