"""TOML with places: what tomllib reads, and the line and column where each key and value stands.

tomllib gives the values and decides what is TOML; the scanner below walks the same text, which
is then known to be valid, and notes places. A path is a tuple of keys and list indices:
`("data", "train", 0, "path")`.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from fastft.core.errors import ConfigError, Origin, Problem

Path = tuple[str | int, ...]
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_SCALAR = re.compile(r"[^,\]}\n#]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''(?:[^'])*(?:''?[^']+)*'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'", re.DOTALL
)
_AT = re.compile(r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL)


@dataclass(frozen=True)
class Spot:
    """Where one key is written: the key itself (or its table's header), and its value."""

    key: Origin
    value: Origin


@dataclass(frozen=True)
class Document:
    """One parsed text.

    Attributes:
        values: as tomllib reads it.
        spots: where each path is written; tables that exist only through longer keys are absent.
    """

    values: dict[str, Any]
    spots: dict[Path, Spot]


def parse(text: str, source: str) -> Document:
    """Read TOML.

    Args:
        text: the file's content.
        source: its name, for messages.

    Raises:
        ConfigError: with the place of the first thing that is not TOML.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), text, source)]) from None
    except RecursionError:
        said = "lists or tables are nested too deeply to be a config"
        raise ConfigError([Problem("config.syntax", None, said, None, Origin(source))]) from None
    scanner = _Scanner(text, source)
    scanner.scan()
    return Document(values, scanner.spots)


@dataclass
class _Scanner:
    """Walks text that tomllib accepts (or refuses only for a key given twice)."""

    text: str
    source: str
    at: int = 0
    spots: dict[Path, Spot] = field(default_factory=dict)
    twice: tuple[Path, Spot, Spot] | None = None
    _counts: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lines = self.text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def scan(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            begin = self.at
            if self.text.startswith("[[", self.at):
                self.at += 2
                names = self._key()[0]
                self._skip(_SPACE)
                self.at += 2
                array = (*self._resolve(names[:-1]), names[-1])
                index = self._counts.get(array, -1) + 1
                self._counts[array] = index
                table = (*array, index)
                here = self._origin(begin, self.at)
                self.spots.setdefault(array, Spot(here, here))
                self._note(table, Spot(here, here))
            elif self.text[self.at] == "[":
                self.at += 1
                names = self._key()[0]
                self._skip(_SPACE)
                self.at += 1
                table = self._resolve(names)
                here = self._origin(begin, self.at)
                self._note(table, Spot(here, here))
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        names, start, end = self._key()
        self._skip(_SPACE)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        path = self._resolve_from(table, names)
        key = self._origin(start, end)
        begin = self.at
        self._value(path)
        self._note(path, Spot(key, self._origin(begin, self.at)))

    def _value(self, path: Path) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self.at += 1
            index = 0
            while True:
                self._skip(_BLANK)
                if self.text[self.at] == "]":
                    break
                begin = self.at
                self._value((*path, index))
                here = self._origin(begin, self.at)
                self._note((*path, index), Spot(here, here))
                index += 1
                self._skip(_BLANK)
                if self.text[self.at] == ",":
                    self.at += 1
            self.at += 1
        elif first == "{":
            self.at += 1
            while True:
                self._skip(_BLANK)
                if self.text[self.at] == "}":
                    break
                self._pair(path)
                self._skip(_BLANK)
                if self.text[self.at] == ",":
                    self.at += 1
            self.at += 1
        else:
            found = _SCALAR.match(self.text, self.at)
            self.at += len(found[0].rstrip()) if found else 1

    def _key(self) -> tuple[list[str], int, int]:
        """The parts of a dotted key, and where it begins and ends."""
        names: list[str] = []
        self._skip(_SPACE)
        begin = end = self.at
        while True:
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                start = self.at
                self._string()
                names.append(next(iter(tomllib.loads(f"{self.text[start : self.at]} = 0"))))
            else:
                found = _BARE.match(self.text, self.at)
                if found is None:
                    raise ValueError("no key here")
                names.append(found[0])
                self.at = found.end()
            end = self.at
            self._skip(_SPACE)
            if self.at >= len(self.text) or self.text[self.at] != ".":
                return names, begin, end
            self.at += 1

    def _string(self) -> None:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise ValueError("no string here")
        self.at = found.end()

    def _resolve(self, names: list[str]) -> Path:
        return self._resolve_from((), names)

    def _resolve_from(self, table: Path, names: list[str]) -> Path:
        """A header below an array of tables means its newest element."""
        path = table
        for name in names:
            path = (*path, name)
            if path in self._counts:
                path = (*path, self._counts[path])
        return path

    def _note(self, path: Path, spot: Spot) -> None:
        known = self.spots.get(path)
        if known is not None and self.twice is None:
            self.twice = (path, known, spot)
        self.spots[path] = spot

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()

    def _origin(self, begin: int, end: int) -> Origin:
        line = bisect_right(self._starts, begin)
        text = self._lines[line - 1]
        column = begin - self._starts[line - 1]
        width = min(end - begin, len(text) - column)  # a value of several lines is marked on its first
        return Origin(self.source, line, text, column + 1, width)


def _syntax_problem(message: str, text: str, source: str) -> Problem:
    """Tomllib's one-line message, as a problem with its place and, for the common slips, a way out."""
    found = _AT.match(message)
    what = found["what"] if found else message
    lines = text.split("\n")
    if found and found["line"]:
        line, column = int(found["line"]), int(found["column"])
    else:
        line = max((number for number, content in enumerate(lines, 1) if content.strip()), default=1)
        column = len(lines[line - 1].rstrip()) + 1
    if what.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate", "Duplicate")):
        twice = _given_twice(text, source)
        if twice is not None:
            return twice
    content = lines[line - 1] if line <= len(lines) else ""
    if not content.strip() or column > len(content):  # the parser gives up after the newline; the slip is before it
        column = max(1, len(content))
    origin = Origin(source, line, content, column, 1)
    said, hint = _explain(what, content)
    return Problem("config.syntax", None, said, hint, origin)


def _given_twice(text: str, source: str) -> Problem | None:
    scanner = _Scanner(text, source)
    with contextlib.suppress(ValueError, IndexError):  # beyond the slip the text may be anything
        scanner.scan()
    if scanner.twice is None:
        return None
    path, first, second = scanner.twice
    table = second.key.text is not None and second.key.text.lstrip().startswith("[")
    name = dotted(path)
    said = f"the table `[{name}]` stands twice" if table else f"`{name}` is given twice"
    return Problem(
        "config.duplicate-key", name, said, f"the first is on line {first.key.line}; keep one of them", second.key
    )


def _explain(what: str, content: str) -> tuple[str, str | None]:
    """What tomllib found, in a user's words."""
    key, equals, value = (part.strip() for part in content.partition("="))
    value = value.split("#")[0].strip()
    if what.startswith("Invalid value") and equals:
        if value in ("True", "False"):
            return f"`{value}` is no TOML value", f"write `{key} = {value.lower()}`"
        if value.lower() in ("none", "null", "nil"):
            return f"`{value}` is no TOML value", "leave the key out: absent means off"
        if not value:
            return f"`{key}` has no value", None
        if re.fullmatch(r"[A-Za-z_./~][^\"']*", value):
            return f"`{value}` is no TOML value", f'text stands in quotes: `{key} = "{value}"`'
        return f"`{value}` is no TOML value", None
    if what.startswith("Expected '='"):
        name, colon, after = (part.strip() for part in content.partition(":"))
        if colon and _BARE.fullmatch(name):
            return f"`{name}` is followed by `:`", f"TOML writes `{name} = {after or '...'}`"
        return "a key is followed by no `=`", None
    if what.startswith("Illegal character") and "\\n" not in what:
        return "a control character stands in the file", r"take it out, or write it in a text as `\u001b`"
    if what.startswith(("Unescaped '\\'", "Invalid hex value", "Invalid unicode")):
        plain = value.strip('"')
        return "in double quotes a backslash begins an escape", f"single quotes keep it: `{key} = '{plain}'`"
    if what.startswith(("Illegal character", "Unterminated string", "Expected '\"'", 'Expected "\'"')):
        return "a text is not closed on its line", 'it ends with the quote it began with; long texts stand in `"""`'
    if what.startswith("Unclosed array") or what.startswith("Unclosed inline table"):
        closing = "]" if "array" in what else "}"
        return f"a `{closing}` is missing", "elements are separated by commas"
    if what.startswith("Expected newline or end of document"):
        return "there is more on the line after the value", "one key a line; a comment begins with `#`"
    if what.startswith("Expected ']'"):
        return "a table's header is not closed", "a table begins with `[name]`, an entry of a list with `[[name]]`"
    return what[:1].lower() + what[1:], None


def dotted(path: Path) -> str:
    """A path as a user writes it: `data.train.0.path`; parts that are no bare key are quoted."""
    return ".".join(str(part) if isinstance(part, int) or _BARE.fullmatch(part) else quoted(part) for part in path)


def quoted(text: str) -> str:
    """A text as TOML writes it, in ASCII quotes; what does not print is escaped, and so can't steer a terminal."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return f'"{"".join(escapes.get(c) or (c if c.isprintable() else _escape(c)) for c in text)}"'


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
