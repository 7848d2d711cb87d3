"""Amounts as people write and read them: `2GiB`, `65_536 tokens`, `64k`, `3h`.

Bytes are binary with an `i` (`KiB` is 1024) and decimal without (`kB` is 1000), counts are
decimal (`64k` is 64 000), and durations end in `ms`, `s`, `min`, `h` or `d`, also joined (`1h30min`).
"""

from __future__ import annotations

import re

_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?(?:[eE]\+?\d+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str) -> int:
    """`"2GiB"` -> 2147483648; a bare number is bytes.

    Raises:
        ValueError: saying what was expected.
    """
    match = _AMOUNT.fullmatch(text)
    unit = match[2].lower() or "b" if match else ""
    if match is None or unit not in _BYTES:
        raise ValueError(f"`{text}` is no amount of memory; expected for example `2GiB` or `500MB`")
    return _whole(float(match[1].replace("_", "")) * _BYTES[unit], text, "bytes")


def parse_count(text: str, noun: str = "tokens") -> int:
    """`"65_536 tokens"`, `"64k"`, `"2M tokens"` -> a whole number; the noun may be left out.

    Raises:
        ValueError: saying what was expected.
    """
    bare = re.sub(rf"\s*{noun.removesuffix('s')}s?\s*$", "", text)
    match = _AMOUNT.fullmatch(bare)
    if match is None or match[2].lower() not in _COUNTS:
        raise ValueError(f"`{text}` is no number of {noun}; expected for example `65_536`, `64k` or `2M {noun}`")
    return _whole(float(match[1].replace("_", "")) * _COUNTS[match[2].lower()], text, noun)


def parse_seconds(text: str) -> float:
    """`"3h"`, `"1h30min"`, `"250ms"` -> seconds; a bare number is seconds.

    Raises:
        ValueError: saying what was expected.
    """
    total, rest = 0.0, text.strip()
    while rest:
        match = _AMOUNT.match(rest)
        unit = match[2] or "s" if match else ""
        if match is None or unit not in _SECONDS:
            raise ValueError(f"`{text}` is no duration; expected for example `3h`, `1h30min` or `90s`")
        total += float(match[1].replace("_", "")) * _SECONDS[unit]
        rest = rest[match.end() :]
    if not text.strip():
        raise ValueError("an empty text is no duration; expected for example `3h`, `1h30min` or `90s`")
    return total


def plural(amount: float, noun: str) -> str:
    """The noun as it stands behind that many: `row` behind 1, `rows`, `passes` behind others."""
    return noun if amount == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"


def count(amount: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{amount:,} {plural(amount, noun)}"


def format_rate(bytes_per_second: float) -> str:
    """2_500_000 -> `2.5 MB/s`, and below one megabyte `840 kB/s`; decimal, as disks are sold."""
    for unit, size in (("B", 1), ("kB", 1e3)):
        if bytes_per_second < 999.5 * size:
            return f"{bytes_per_second / size:.0f} {unit}/s"
    return f"{bytes_per_second / 1e6:.{0 if bytes_per_second >= 99.95e6 else 1}f} MB/s"


def format_bytes(amount: float) -> str:
    """1536 -> `1.5 KiB`, with three digits at most."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{_short(amount)} {unit}"
        amount /= 1024
    return f"{_short(amount)} TiB"


def format_count(amount: float) -> str:
    """134515008 -> `134.5M`; below ten thousand every digit is printed."""
    if abs(amount) < 10_000:
        return f"{amount:.0f}"
    for unit in ("k", "M", "G"):
        amount /= 1000
        if abs(amount) < 999.95:
            return f"{amount:.1f}".removesuffix(".0") + unit
    return f"{amount / 1000:.1f}T"


def format_seconds(seconds: float) -> str:
    """5432 -> `1h 30min`; the two largest units, so that a glance is enough."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}min {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02d}min"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}h"


def _short(amount: float) -> str:
    return f"{amount:.0f}" if abs(amount) >= 100 or amount == int(amount) else f"{amount:.1f}"


def _whole(amount: float, text: str, noun: str) -> int:
    if amount != int(amount):
        raise ValueError(f"`{text}` is no whole number of {noun}")
    return int(amount)
