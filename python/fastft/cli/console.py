"""How fastft looks in a terminal: diagnostics, plain tables, colour where it is wanted.

Data goes to stdout; everything else to stderr. Nothing here needs Rich, so that an error costs no import.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from fastft.core import env, paths
from fastft.core.errors import FastftError, Preempted, Problem, ResourceError, columns_of, render

verbose = False
"""Set by `fastft --verbose`: tracebacks for every error, not for bugs only."""

_STYLES = {"red": "1;31", "green": "32", "yellow": "33", "blue": "1;34", "cyan": "36", "dim": "2", "bold": "1"}
_NUMBER = re.compile(r"[\d,.]*")
_REPORT = "https://github.com/fastft/fastft/issues"


def colored(stream: TextIO) -> bool:
    """Whether `stream` wants colour: `NO_COLOR`, `FORCE_COLOR`, else whether it is a terminal."""
    wanted = env.color()
    return stream.isatty() if wanted is None else wanted


def style(text: str, name: str, stream: TextIO | None = None) -> str:
    """The text in a colour, or as it is where colour is not wanted."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if text and colored(stream or sys.stderr) else text


def stdout() -> TextIO:
    """Where data goes, for what asks whether it wants colour."""
    return sys.stdout


def flush() -> None:
    """Hand what was printed to the reader, who may be waiting for it."""
    sys.stdout.flush()


def out(text: str = "") -> None:
    """Print data, to stdout."""
    print(text, file=sys.stdout, flush=False)


def out_json(value: Any) -> None:
    """Print one value as JSON on one line, to stdout."""
    out(json.dumps(value, ensure_ascii=False, default=str))


def say(text: str = "") -> None:
    """Print words for a person, to stderr."""
    print(text, file=sys.stderr, flush=True)


def fail(error: FastftError) -> None:
    """Print an error's problems, to stderr."""
    problems = error.problems
    if isinstance(error, Preempted):  # asked for, and done: no error
        say(style("stopped", "yellow") + f": {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
        return
    say(diagnostics(problems))
    if len(problems) > 1:
        say(f"\n{len(problems)} problems")


def diagnostics(problems: Iterable[Problem]) -> str:
    """`render`, coloured where stderr wants it."""
    text = render(problems)
    if not colored(sys.stderr):
        return text
    return "\n".join(_paint(line) for line in text.split("\n"))


def _paint(line: str) -> str:
    if line.startswith("error["):
        head, _, rest = line.partition(": ")
        return f"{style(head, 'red')}: {style(rest, 'bold')}"
    if line.startswith("hint: "):
        return style("hint", "cyan") + line[4:]
    if line.lstrip().startswith("--> "):
        return line.replace("-->", style("-->", "blue"), 1)
    gutter, bar, rest = line.partition(" |")
    if bar and (not gutter.strip() or gutter.strip().isdigit()):
        rest = style(rest, "red") if set(rest.strip()) == {"^"} else rest
        return style(gutter + bar, "blue") + rest
    return line


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None, stream: TextIO | None = None) -> str:
    """Rows as aligned columns, two spaces apart; columns of numbers below a header end at the right."""
    stream = stream or sys.stdout
    every = ([list(header)] if header else []) + [list(row) for row in rows]
    if not every:
        return ""
    columns = range(len(every[0]))
    widths = [max(columns_of(row[column]) for row in every) for column in columns]
    numbers = [header is not None and all(_NUMBER.fullmatch(row[column]) for row in rows) for column in columns]
    lines = []
    for number, row in enumerate(every):
        spaces = [" " * (width - columns_of(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            space + cell if right else cell + space for cell, space, right in zip(row, spaces, numbers, strict=True)
        ]
        line = "  ".join(cells).rstrip()
        lines.append(style(line, "dim", stream) if header and number == 0 else line)
    return "\n".join(lines)


def os_problem(error: OSError) -> FastftError | None:
    """An error of the disk that the user can mend; None when it looks like our mistake."""
    import errno

    where = f"`{error.filename}`" if error.filename else "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or name another folder with --out or FASTFT_CACHE"
        return ResourceError(f"the disk is full: {where} could not be written", hint=hint, code="resource.disk-full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResourceError(f"{where}: {(error.strerror or 'no permission').lower()}", code="resource.no-permission")
    if isinstance(error.filename, str | bytes) and _unusable_cache(os.fsdecode(error.filename)):
        said = f"the cache folder `{paths.cache_folder()}` can't be used: {where}: {(error.strerror or '').lower()}"
        hint = "let FASTFT_CACHE name a folder on a disk with room that you may write to"
        return ResourceError(said, hint=hint, code="resource.no-permission")
    return None


def _unusable_cache(name: str) -> bool:
    """Whether the name lies in, or is, or leads to the cache folder, and that is none."""
    folder, path = paths.cache_folder().absolute(), Path(name).absolute()
    return not folder.is_dir() and (folder == path or folder in path.parents or path in folder.parents)


def bug(error: BaseException) -> int:
    """Say that we are at fault and what to send us; exit code 1."""
    import platform

    import fastft

    traceback()
    words = sys.argv[1:]
    say()
    say(f"{style('error[internal]', 'red')}: {type(error).__name__}: {error}".rstrip(": "))
    say(f"This is a bug in fastft. Please report it with the traceback above: {_REPORT}")
    say(f"fastft {fastft.__version__}, Python {platform.python_version()}, {platform.platform()}")
    say(f"command: fastft {' '.join(words)}")
    return 1


def traceback() -> None:
    """The traceback of the exception that is being handled, to stderr."""
    import traceback as module

    module.print_exc(file=sys.stderr)


def abandon_stdout() -> None:
    """Let the interpreter's last flush of stdout go nowhere, without a message about it."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
