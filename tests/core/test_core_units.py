"""Amounts as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastft.core import units


@pytest.mark.parametrize(
    ("text", "amount"), [("2GiB", 2**31), ("500 MB", 500_000_000), ("1.5kib", 1536), ("7", 7), ("80GiB", 80 * 2**30)]
)
def test_bytes_are_binary_with_an_i_and_decimal_without(text: str, amount: int) -> None:
    assert units.parse_bytes(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("65_536 tokens", 65536), ("64k", 64000), ("2M tokens", 2_000_000), ("1 token", 1), ("1e6", 10**6)],
)
def test_counts_may_name_what_they_count(text: str, amount: int) -> None:
    assert units.parse_count(text) == amount


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h", 10800), ("1h30min", 5400), ("250ms", 0.25), ("90", 90), ("2d 1h", 176400)]
)
def test_durations_join(text: str, seconds: float) -> None:
    assert units.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "many", "2 XiB", "-1GiB", "1.5", "GiB", "0.0001kB"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="`"):
        units.parse_bytes(text)


@pytest.mark.parametrize("text", ["", "3 fortnights", "h", "1h x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        units.parse_seconds(text)


@given(st.integers(0, 2**62))
def test_every_count_reads_back_as_written(amount: int) -> None:
    assert units.parse_count(f"{amount:_} tokens") == pytest.approx(amount, rel=1e-15)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (units.format_bytes(0), "0 B"),
        (units.format_bytes(1536), "1.5 KiB"),
        (units.format_bytes(3 * 2**40), "3 TiB"),
        (units.format_count(9999), "9999"),
        (units.format_count(134_515_008), "134.5M"),
        (units.format_count(999_999), "1M"),
        (units.format_seconds(0.0042), "4 ms"),
        (units.format_seconds(59.97), "1min 00s"),
        (units.format_seconds(5432), "1h 30min"),
        (units.format_seconds(200_000), "2d 07h"),
    ],
)
def test_amounts_print_short(made: str, text: str) -> None:
    assert made == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0 B/s"),
        (999, "999 B/s"),
        (1000, "1 kB/s"),
        (840_400, "840 kB/s"),
        (999_499, "999 kB/s"),
        (999_500, "1.0 MB/s"),
        (2_540_000, "2.5 MB/s"),
        (99_940_000, "99.9 MB/s"),
        (1.2e9, "1200 MB/s"),
    ],
)
def test_rates_below_a_megabyte_are_told_in_kilobytes(rate: float, text: str) -> None:
    assert units.format_rate(rate) == text


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    assert [units.count(number, "row") for number in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert (units.count(1, "pass"), units.count(2, "pass")) == ("1 pass", "2 passes")
