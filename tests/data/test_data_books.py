from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from data_helpers import Heard, Kitchen, chat, rejected, write_jsonl

from fastft.core.errors import DataError

BROKEN = {
    "E_JSON": b'{"messages": [{"role": "user", "content": "Hi"',
    "E_UTF8": b'{"messages": [{"role": "user", "content": "\xff"}]}',
    "E_NUL": b'{"messages": "\x00"}',
    "E_TYPE": b'{"messages": 3}',
    "E_MISSING": b'{"message": []}',
    "E_ROLE": b'{"messages": [{"role": "robot", "content": "x"}]}',
    "E_EMPTY": b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]}',
    "E_NO_TARGET": b'{"messages": [{"role": "user", "content": "x"}]}',
}


def test_every_broken_row_of_ten_thousand_is_named_and_the_books_balance(kitchen: Kitchen, tmp_path: Path) -> None:
    choose = random.Random(3)
    lines, want = [], []
    for number in range(1, 10_001):
        if choose.random() < 0.01 * len(BROKEN):
            code = choose.choice(list(BROKEN))
            lines.append(BROKEN[code])
            want.append((number, code))
        else:
            lines.append(json.dumps(chat(f"q{number}", f"a{number}")).encode())
    path = tmp_path / "rows.jsonl"
    ends = [b"\r\n" if number % 3 == 0 else b"\n" for number in range(len(lines))]
    body = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    path.write_bytes(b"\xef\xbb\xbf" + body.rstrip(b"\r\n"))

    heard = Heard()
    prepared = kitchen.prepare(path, out=tmp_path / "run", heard=heard)
    found = rejected(tmp_path / "run" / "data")
    assert [(row["line"], row["code"]) for row in found] == want
    assert all(row["file"] == str(path) and row["reason"] for row in found)
    for row, (number, _) in zip(found, want, strict=True):
        assert row["row"] == lines[number - 1].decode(errors="replace")[:2048]
    total = prepared.books["total"]
    assert total["read"] == 10_000
    assert total["read"] == total["used"] + sum(total["quarantined"].values()) + sum(total["dropped"].values())
    assert total["used"] == 10_000 - len(want) == prepared.train.rows
    assert heard.codes().count("data.quarantined") == 1
    manifest = json.loads((tmp_path / "run" / "data" / "manifest.json").read_text())
    assert manifest["books"] == prepared.books


def test_a_broken_row_of_an_array_costs_only_itself(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = [json.dumps(chat(f"q{n}", "a")) for n in range(5)]
    rows[2] = rows[2].replace('"a"', '"a')
    path.write_text("[\n  " + ",\n  ".join(rows) + "\n]")
    kitchen.prepare(path, out=tmp_path)
    assert [(row["line"], row["code"]) for row in rejected(tmp_path / "data")] == [(4, "E_JSON")]


def test_a_row_of_an_array_without_its_brace_costs_only_itself(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = [json.dumps(chat(f"q{n}", "a")) for n in range(9)]
    rows[2], rows[5] = rows[2][:-1], rows[5][:-2]
    path.write_text("[\n" + ",\n".join(rows) + "\n]")
    prepared = kitchen.prepare(path, out=tmp_path)
    assert [(row["line"], row["code"]) for row in rejected(tmp_path / "data")] == [(4, "E_JSON"), (7, "E_JSON")]
    assert (prepared.books["total"]["read"], prepared.train.rows) == (9, 7)


def test_a_joined_file_is_told_by_its_byte_order_mark(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = json.dumps(chat("q", "a"))
    path.write_text(f"{row}\n\ufeff{row}\n", "utf-8")
    kitchen.prepare(path, out=tmp_path)
    assert "byte order mark" in rejected(tmp_path / "data")[0]["reason"]


def test_on_bad_fail_ends_at_the_first_bad_row_also_from_the_cache(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(chat("q", "a")) + "\nbroken\nbroken too\n")
    for prepare_before in (False, True):
        if prepare_before:
            kitchen.prepare(path)
        with pytest.raises(DataError) as caught:
            kitchen.prepare(path, on_bad="fail")
        assert (caught.value.path, caught.value.line, caught.value.code) == (str(path), 2, "data.E_JSON")


def test_too_many_bad_rows_end_the_run(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(chat("q", "a")) + "\nbroken\n")
    kitchen.prepare(path, max_bad_fraction=0.5)
    with pytest.raises(DataError, match="1 of 2 rows"):
        kitchen.prepare(path, max_bad_fraction=0.49)


def test_nothing_left_is_an_error_that_says_why(kitchen: Kitchen, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a" * 500)])
    with pytest.raises(DataError, match="1 longer than"):
        kitchen.prepare(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", b"", "no rows"),
        ("odd.jsonl", b'{"colour": 1, "size": 2}\n', "`colour`, `size`"),
        ("rows.jsonl.gz", b"\x1f\x8b\x08\x00", "damaged or incomplete"),
        ("one.json", b'{\n "a": 1\n}', "one JSON object"),
        ("text.txt", b"Once upon a time", "plain text"),
    ],
)
def test_a_source_that_cannot_be_used_is_told_with_its_path(
    kitchen: Kitchen, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        kitchen.prepare(tmp_path / name)
    assert words in caught.value.message


def test_a_missing_file_is_a_data_error(kitchen: Kitchen, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file, folder or match"):
        kitchen.prepare(tmp_path / "nowhere.jsonl")
