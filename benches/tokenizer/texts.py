"""The texts of the benchmark, by kind: en, code, multilingual, sft.

A kind comes from files of rows that the user names, else from a corpus folder, else from what every machine has.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import itertools
import json
import lzma
import random
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("en", "code", "multilingual", "sft")
ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}
SHARE = 20
"""No text is longer than this part of its kind, so that no single one decides."""
WARM_UP = ["qzvxj bwqpk fjzgh", "Xkqzw: vbjjq (zzxqv)!", "\tjqqx wvvz = 9071;\n", "Ωψξ ъыэ 鬱龘 ğŵ"] * 2
"""What engines encode before they are measured: words that no text has."""


def draw(kind: str, size: int, files: list[Path], corpus: Path | None) -> tuple[list[str], str]:
    """About `size` bytes of a kind, or all there is, and where they come from."""
    if files:
        groups, source = [list(map(row_text, rows(file))) for file in files], ", ".join(file.name for file in files)
    elif corpus and kind != "sft":
        groups, source = list(of_corpus(corpus, kind).values()), f"folder `{corpus.name}`"
    else:
        groups, source = OWN[kind]()
    chance = random.Random(0)
    for group in groups:
        chance.shuffle(group)
    found, total, longest = [], 0, max(size // SHARE, 1 << 16)
    for text in itertools.chain.from_iterable(itertools.zip_longest(*groups)):
        if text and len(bytes(text, "utf-8")) <= longest and total < size:
            found.append(text)
            total += len(text.encode())
    if not found:
        raise SystemExit(f"there is no text of the kind `{kind}` in {source}; name a file of rows: --texts {kind}=FILE")
    return found, source


def rows(file: Path) -> Iterator[Any]:
    """Rows of JSON lines or of one JSON array, perhaps packed."""
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(file.suffix, bytes)
    content = unpack(file.read_bytes()).decode("utf-8")
    yield from json.loads(content) if content.startswith("[") else map(json.loads, content.strip("\n").split("\n"))


def row_text(row: dict[str, Any]) -> str:
    """The text of a row, or its conversation as ChatML."""
    if "text" in row:
        return str(row["text"])
    if isinstance(row.get("chosen"), str):
        return str(row["chosen"])
    turns = [
        (turn.get("role") or ROLES.get(turn["from"], turn["from"]), turn.get("content") or turn.get("value") or "")
        for turn in row.get("messages") or row.get("conversations") or ()
    ]
    if not turns:
        question = row.get("instruction") or row.get("question") or row["prompt"]
        answer = row.get("output") or row.get("response") or row.get("answer") or ""
        turns = [("user", f"{question}\n{row['input']}" if row.get("input") else question), ("assistant", answer)]
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)


def of_corpus(folder: Path, kind: str) -> dict[str, list[str]]:
    """Each eighth row of a folder of `{text, kind, lang}`, by language, or by kind where the language is one."""
    groups: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        with file.open("rb") as stream:
            for line in stream:
                if zlib.crc32(line) % 8:
                    continue
                row = json.loads(line)
                code, language = row["kind"] == "code", row["lang"]
                if kind == ("code" if code else "en" if language == "en" else "multilingual"):
                    groups.setdefault(row["kind"] if kind == "en" else language, []).append(row["text"])
    return groups


def own_english() -> tuple[list[list[str]], str]:
    from pydoc_data import topics

    described = [dist.read_text("METADATA") for dist in importlib.metadata.distributions()]
    pages = [file.read_text("utf-8") for file in sorted(ROOT.glob("docs/*.md"))]
    return [
        list(topics.topics.values()),
        sorted(filter(None, described)),
        pages,
    ], "Python's manual, packages' own pages"


def own_code() -> tuple[list[list[str]], str]:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")) + sorted(
        file
        for part in ("asyncio", "json", "email", "xml", "http", "lib2to3", "distutils", "test", "idlelib")
        for file in (Path(sysconfig.get_path("stdlib")) / part).glob("*.py")
    )
    return [[file.read_text("utf-8", errors="ignore") for file in files]], "Python's standard library"


def own_conversations() -> tuple[list[list[str]], str]:
    """Conversations of the quickstart's questions, with a number each so that no two are alike."""
    some = [row_text(row) for file in sorted((ROOT / "configs" / "data").glob("*.jsonl")) for row in rows(file)]
    many = [f"{some[n % len(some)]}<|im_start|>user\n{n}: {some[n * 7 % len(some)]}<|im_end|>\n" for n in range(30_000)]
    return [many], "made of the quickstart's conversations"


SCRIPTS = {
    "Latin": ("àâçéèêëîïôûäöüßñ" + "abcdefghijklmnopqrstuvwxyz" * 3, " ", 9),
    "Cyrillic": ("абвгдежзийклмнопрстуфхцчшщыьэюя", " ", 9),
    "Greek": ("αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ", " ", 9),
    "Arabic": ("ابتثجحخدذرزسشصضطظعغفقكلمنهوي", " ", 7),
    "Hebrew": ("אבגדהוזחטיכלמנסעפצקרשת", " ", 6),
    "Devanagari": ("कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैो्", " ", 8),
    "Thai": ("กขคงจชซดตถทธนบปผพฟภมยรลวสหอะาิีึืุูเแโใไ่้", "", 6),
    "Hangul": ("".join(chr(0xAC00 + 37 * n) for n in range(300)), " ", 4),
    "Kana": (
        "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんアイウエオカキクケコ",
        "",
        5,
    ),
    "Han": ("".join(chr(0x4E00 + 7 * n) for n in range(2500)), "", 2),
}
"""Script -> its letters, what stands between words, and how long words get."""


def own_multilingual() -> tuple[list[list[str]], str]:
    """Words made up for each script, the n-th as frequent as 1/n, as in languages."""
    chance, groups = random.Random(0), []
    for letters, between, longest in SCRIPTS.values():
        words = ["".join(chance.choices(letters, k=chance.randint(1, longest))) for _ in range(20_000)]
        weights = list(itertools.accumulate(1 / (1 + rank) for rank in range(len(words))))
        stops = ("。", "，") if not between else (". ", ", ")
        groups.append(
            [
                "".join(
                    between.join(chance.choices(words, cum_weights=weights, k=12)) + stops[sentence % 2]
                    for sentence in range(20)
                )
                for _ in range(400)
            ]
        )
    return groups, "words made up in ten scripts"


OWN = {"en": own_english, "code": own_code, "multilingual": own_multilingual, "sft": own_conversations}
