"""The figures as tables: Markdown for pages, Rich for terminals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import OURS, REFERENCE

BEGIN, END = "<!-- made by benches/tokenizer/bench.py --table -->", "<!-- end of what it made -->"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row."""

    title: str
    head: list[str]
    rows: list[list[str]]


def tables(found: dict[str, Any]) -> list[Table]:
    """The tables of a result."""
    both = any("second_thread" in cell for cell in found["cells"])
    return [speeds(found), ours(found, both), *([loading(found)] if found["load"] else [])]


def speeds(found: dict[str, Any]) -> Table:
    names = list(found["engines"])
    rows = []
    for cell in found["cells"]:
        times = cell["engines"].get(OURS, {}).get("times_reference")
        beside = [number(times), number(cell["best"]["times"]) if "best" in cell else ""]
        told = [rated(cell["engines"].get(name, {"state": "not installed"})) for name in names]
        rows.append([f"{cell['tokenizer']} {cell['kind']}", *told, *beside])
    for kind, mean in found["means"].items():
        told = [of_mean(mean["engines"].get(name, {})) for name in names]
        beside = [plain(mean["engines"].get(OURS, {}).get("times_reference")), plain(mean.get("times_best"))]
        rows.append([f"mean, {kind}", *told, *beside])
    return Table("MB per CPU second, cold, one thread", ["", *names, "x reference", "x best exact"], rows)


def ours(found: dict[str, Any], both: bool) -> Table:
    """What else is known of ours: warm, and with two threads."""
    rows = []
    for cell in found["cells"]:
        mine = cell["engines"].get(OURS, {})
        if "warm" not in mine:
            continue
        row = [f"{cell['tokenizer']} {cell['kind']}", number(mine["warm"]), number(mine["times_reference_warm"])]
        row.append(against(cell.get("best_warm")))
        if both:
            row += [number(mine.get("two_threads")), number(mine.get("two_threads_times_reference"))]
            row += [against(cell.get("best_two_threads")), number(cell.get("second_thread"), 2)]
        rows.append(row)
    head = ["", "warm, MB/CPU-s", "x reference", "x best exact"]
    if both:
        head += ["two threads, MB/s", "x reference", "x best exact", "x one thread"]
    return Table(f"{OURS}, warm" + (" and with two threads, by the clock" if both else ""), head, rows)


def loading(found: dict[str, Any]) -> Table:
    rows = []
    for name, load in found["load"].items():
        mine, theirs = load.get(OURS), load[REFERENCE]
        cells = [milliseconds(side[part]) for part in ("first", "again") for side in (mine, theirs) if side]
        rows.append([name, *cells])
    head = [f"{name}, {part}" for part in ("first", "again") for name in (OURS, REFERENCE)]
    return Table("loading, milliseconds of CPU", ["", *head], rows)


def rated(entry: dict[str, Any]) -> str:
    """A cell: a rate, in brackets where the ids are not the reference's."""
    match entry["state"]:
        case "exact":
            return number(entry["cold"])
        case "differs":
            wrong = f"{entry['texts']} of {entry['of']} differ" if "texts" in entry else "ids change"
            return f"({number(entry['cold'])}; {wrong})"
        case state:
            return str(state)


def of_mean(entry: dict[str, Any]) -> str:
    if not entry.get("exact"):
        return "–"
    part = "" if entry["exact"] == entry["cells"] else f" ({entry['exact']} of {entry['cells']})"
    return plain(entry["cold"]) + part


def against(best: dict[str, Any] | None) -> str:
    return f"{number(best['times'])} ({best['engine']})" if best else ""


def number(values: dict[str, float] | None, digits: int | None = None) -> str:
    return plain(values["median"] if values else None, digits)


def plain(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.{digits if digits is not None else 0 if value >= 100 else 1 if value >= 10 else 2}f}"


def milliseconds(values: dict[str, float]) -> str:
    return f"{values['median'] * 1e3:.0f}"


def notes(found: dict[str, Any]) -> list[str]:
    """What a reader has to know: versions, texts, machine, and why an engine has no figures."""
    about, load = found["about"], found["other_load"]
    texts = ", ".join(
        f"{kind} {each['bytes'] / 1e6:.1f} MB ({each['source']})" for kind, each in found["texts"].items()
    )
    versions = ", ".join(f"{name} {each['version'] or 'not installed'}" for name, each in found["engines"].items())
    lines = [
        f"{about['cpu']}, {about['cores']} cores; other processes took {load:.1f} cores on average; commit {about['commit'][:10]}.",
        f"Medians of {found['rounds']} rounds; in brackets: in how many texts ids differ. Texts: {texts}.",
        f"Engines: {versions}.",
    ]
    told: dict[tuple[str, str, str], list[str]] = {}
    for cell in found["cells"]:
        for name, entry in cell["engines"].items():
            if "reason" in entry:
                where = told.setdefault((name, entry["state"], entry["reason"]), [])
                where += [] if cell["tokenizer"] in where else [cell["tokenizer"]]
    for (name, state, reason), where in told.items():
        lines.append(f"{name} {state} {', '.join(where)}: {reason.rstrip('. ')}.")
    return lines


def markdown(found: dict[str, Any]) -> str:
    """All tables and notes, for a page."""
    parts = []
    for table in tables(found):
        head = ["| " + " | ".join(table.head) + " |", "| --- |" + " ---: |" * (len(table.head) - 1)]
        body = ["| " + " | ".join(row) + " |" for row in table.rows]
        parts.append("\n".join([f"{table.title[0].upper()}{table.title[1:]}:", "", *head, *body]))
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes(found))]) + "\n"


def write_page(page: Path, found: dict[str, Any]) -> None:
    """Put the tables between the marks of a page."""
    before, mark, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"`{page}` has no place for the tables; put these lines where they belong:\n{BEGIN}\n{END}")
    page.write_text(f"{before}{BEGIN}\n\n{markdown(found)}\n{END}{behind}", encoding="utf-8")


def show(found: dict[str, Any]) -> None:
    """All tables and notes, on the terminal."""
    from rich.console import Console
    from rich.table import Table as Drawn

    # narrower than its words, a table of numbers can't be read at all: lines that are too long are the terminal's to break
    console = Console(width=max(Console().width, 170))
    for table in tables(found):
        drawn = Drawn(title=table.title, title_justify="left")
        for at, name in enumerate(table.head):
            drawn.add_column(name, justify="right" if at else "left", no_wrap=not at, overflow="fold")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
    for line in notes(found):
        console.print(line, markup=False, highlight=False)
