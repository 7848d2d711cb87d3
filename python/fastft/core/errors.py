"""What can go wrong, as classes a caller can catch and exit codes a script can test.

Every error raised on purpose carries a `Problem` (or several): what is wrong, where, and
a way out. `render` prints problems as plain text; colour is the terminal's business
(`cli/console.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    Args:
        source: a file's path, `--set KEY=VALUE`, or `default`.
        line: 1-based line in the file, None when the source is no file.
        text: the source line itself, without its newline.
        column: 1-based first column of what is meant, in characters.
        width: how many characters are meant.
    """

    source: str
    line: int | None = None
    text: str | None = None
    column: int = 1
    width: int = 0

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        code: stable dotted name, for example `config.unknown-key`.
        key: the dotted config key that it is about, if any; `load` finds its origin.
        message: what is wrong, with the value and what was expected; no full stop.
        hint: what to do about it.
        origin: where it was written, when known.
    """

    code: str
    key: str | None
    message: str
    hint: str | None = None
    origin: Origin | None = None


def render(problems: Iterable[Problem]) -> str:
    """Print problems as plain text, one block each, in the order given."""
    return "\n\n".join(_block(problem) for problem in problems)


def _block(problem: Problem) -> str:
    lines = [f"error[{problem.code}]: {problem.message}"]
    origin = problem.origin
    if origin is not None:
        lines.append(f"  --> {origin}")
        lines += excerpt(origin)
    if problem.hint is not None:
        lines.append(f"hint: {problem.hint}")
    # What a file or its name says must not steer the terminal.
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in "\n".join(lines))


def excerpt(origin: Origin, width: int = 64) -> list[str]:
    """The source line with a caret line below it, cut to what is meant when the line is long."""
    if origin.line is None or origin.text is None:
        return []
    gutter = " " * len(str(origin.line))
    text = "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in origin.text)
    column = origin.column - 1
    marked = min(origin.width, width)
    if len(text) > width:
        start = max(0, min(column - 8, len(text) - width))
        before, after = "..." if start else "", "..." if start + width < len(text) else ""
        text, column = before + text[start : start + width] + after, column - start + len(before)
    lines = [f"{gutter} |", f"{origin.line} | {text}"]
    if marked:
        carets = "^" * columns_of(text[column : column + marked].ljust(marked))
        lines.append(f"{gutter} | {' ' * columns_of(text[:column])}{carets}")
    return lines


def columns_of(text: str) -> int:
    """Terminal columns of a text: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


class FastftError(Exception):
    """Anything fastft raises on purpose; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code

    @property
    def problems(self) -> list[Problem]:
        """The same as `Problem`s, for printing."""
        return [Problem(self.code, None, self.message, self.hint)]

    def __str__(self) -> str:
        return render(self.problems)


class ConfigError(FastftError):
    """A config, or the words on the command line, say something that can't be done."""

    exit_code = 3
    default_code = "config"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._problems = list(problems)
        super().__init__(render(self._problems))

    @property
    def problems(self) -> list[Problem]:
        """Each thing wrong, in file order."""
        return self._problems

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[Problem]]]:
        return (type(self), (self._problems,))


class NotFoundError(FastftError):
    """What the command line names is not there."""

    exit_code = 2
    default_code = "not-found"


class DataError(FastftError):
    """Data that can't be used, with its place.

    Attributes:
        path: the file, None when the trouble is with no single file.
        line: 1-based line or row in it, None when unknown.
    """

    exit_code = 4
    default_code = "data"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        path: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.path = path
        self.line = line

    @property
    def problems(self) -> list[Problem]:
        """The one problem, with file and line as its origin."""
        origin = None if self.path is None else Origin(self.path, self.line)
        return [Problem(self.code, None, self.message, self.hint, origin)]


class ModelError(FastftError):
    """A model, tokenizer or adapter can't be found, read or used."""

    exit_code = 5
    default_code = "model"


class ResourceError(FastftError):
    """The machine lacks memory, disk or a device that the run needs."""

    exit_code = 5
    default_code = "resource"


class UnsupportedError(FastftError):
    """What is asked for exists but not here: a package, a device, an architecture."""

    exit_code = 5
    default_code = "unsupported"


class DivergedError(FastftError):
    """Loss, gradient or a trained weight is no longer finite."""

    exit_code = 6
    default_code = "run.diverged"


class ResumeError(FastftError):
    """A checkpoint belongs to another run than the one that is asked for."""

    exit_code = 7
    default_code = "run.resume-refused"


class VerificationError(FastftError):
    """A result failed the check that it must pass before it is published."""

    exit_code = 8
    default_code = "verification"


class Preempted(FastftError):
    """A signal asked the run to stop; a checkpoint was saved (sysexits' EX_TEMPFAIL)."""

    exit_code = 75
    default_code = "run.stopped"
