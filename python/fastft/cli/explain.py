"""How `fastft config explain` lays out what a key means."""

from __future__ import annotations

import shutil
import sys
import textwrap

from fastft.cli.console import style
from fastft.config.explain import Entry


def text(found: list[Entry], *, brief: bool) -> str:
    """Entries as blocks of lines; the first in full, those below it in two lines each."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    blocks = []
    first = found[0].path
    for entry in found:
        full = not brief and entry.path == first
        blocks.append("\n".join(_block(entry, full, width)))
    return "\n\n".join(blocks) if not brief else "\n".join(blocks)


def _block(entry: Entry, full: bool, width: int) -> list[str]:
    kind = f'  (kind = "{entry.kind}")' if entry.kind else ""
    given = "must be given" if entry.required else f"default {entry.default}" if entry.default else "absent: off"
    lines = [style(entry.path, "bold", sys.stdout) + kind]
    indent = "  "
    lines += textwrap.wrap(f"{entry.type}; {given}", width, initial_indent=indent, subsequent_indent=indent)
    lines += textwrap.wrap(entry.doc, width, initial_indent=indent, subsequent_indent=indent)
    if entry.kinds and full:
        longest = max(len(name) for name, _ in entry.kinds)
        lines.append("")
        for name, doc in entry.kinds:
            head = f"{indent}{name:<{longest}}  "
            lines += textwrap.wrap(doc, width, initial_indent=head, subsequent_indent=" " * len(head)) or [
                head.rstrip()
            ]
    if full:
        lines += ["", f"{indent}in a file:  {_in_file(entry)}"]
        if not entry.kinds and " = " in entry.example:
            lines.append(f"{indent}once:       --set {_on_command_line(entry)}")
    return lines


def _in_file(entry: Entry) -> str:
    table = entry.path.rpartition(".")[0]
    if entry.example.startswith("[") or not table:
        return entry.example
    header = f"[[{table}]]" if table in ("data.train", "data.eval") else f"[{table}]"
    return f"{header} {entry.example}"


def _on_command_line(entry: Entry) -> str:
    value = entry.example.partition(" = ")[2]
    path = entry.path.replace("data.train.", "data.train.0.").replace("data.eval.", "data.eval.0.")
    word = f"{path}={value}"
    if value.startswith('"') and value[1:-1].replace("-", "").replace("_", "").isalnum():
        return f"{path}={value[1:-1]}"
    return f"'{word}'" if any(char in word for char in ' "[{') else word
