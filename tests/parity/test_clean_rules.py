"""The rules against datatrove's, where it is installed; `rust/clean/tests/rules.rs` holds what they say otherwise.

datatrove's words come from a tokenizer of choice; here both sides split words alike, so that the rules are compared.
"""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from fastft.data.engine import engine

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
SENTENCE = re.compile(r"[.!?]+[\"')”’]*(?=\s|$)")
NAMES = {
    "gopher_short_doc": "gopher.short",
    "gopher_long_doc": "gopher.long",
    "gopher_below_avg_threshold": "gopher.short_words",
    "gopher_above_avg_threshold": "gopher.long_words",
    "gopher_too_many_hashes": "gopher.hashes",
    "gopher_too_many_ellipsis": "gopher.ellipses",
    "gopher_too_many_bullets": "gopher.bullet_lines",
    "gopher_too_many_end_ellipsis": "gopher.ellipsis_lines",
    "gopher_below_alpha_threshold": "gopher.alphabetic",
    "gopher_enough_stop_words": "gopher.stop_words",
    "dup_para_frac": "repetition.paragraphs",
    "dup_para_char_frac": "repetition.paragraph_chars",
    "dup_line_frac": "repetition.lines",
    "dup_line_char_frac": "repetition.line_chars",
    "lorem_ipsum": "c4.lorem_ipsum",
    "curly_bracket": "c4.curly_bracket",
    "too_few_sentences": "c4.few_sentences",
    "line_punct_ratio": "fineweb.punctuation",
    "short_line_ratio": "fineweb.short_lines",
    "char_dup_ratio": "fineweb.duplicate_chars",
    "list_ratio": "fineweb.newlines",
}
NAMES |= {f"top_{n}_gram": f"repetition.top_{n}gram" for n in (2, 3, 4)}
NAMES |= {f"duplicated_{n}_n_grams": f"repetition.duplicate_{n}gram" for n in range(5, 11)}


class Words:
    """Splits words as the engine does, and sentences at their punctuation."""

    def word_tokenize(self, text: str) -> list[str]:
        return WORD.findall(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        ends = [match.end() for match in SENTENCE.finditer(text)]
        if text[ends[-1] if ends else 0 :].strip():
            ends.append(len(text))
        return list(zip([0, *ends], ends, strict=False)) or [(0, len(text))]


def texts() -> list[str]:
    """Plain prose and five hundred ways to spoil it."""
    draw = random.Random(3)
    nouns = [
        "river",
        "harbour",
        "letter",
        "winter",
        "garden",
        "engine",
        "village",
        "market",
        "teacher",
        "window",
        "mountain",
        "story",
    ]
    verbs = ["crosses", "follows", "remembers", "builds", "watches", "opens", "carries", "leaves"]
    real = []
    for _ in range(60):
        lines = []
        for _ in range(draw.randint(3, 30)):
            subject, other = draw.sample(nouns, 2)
            end = draw.choice([".", ".", "!", "?", "", "..."])
            lines.append(f"The {subject} {draw.choice(verbs)} to the {other} of that day and we have it{end}")
        real.append(draw.choice(["\n", " ", "\n\n"]).join(lines))
    if "FASTFT_SHARED" in os.environ:
        demo = Path(os.environ["FASTFT_SHARED"]) / "data" / "llamafactory_demo"
        real += [json.loads(line)["text"] for line in (demo / "c4_demo.jsonl").read_text("utf-8").splitlines()]
        real += [line for line in (demo / "wiki_demo.txt").read_text("utf-8").split("\n") if line.strip()][:400]
    spoils: list[Any] = [
        lambda word: word + "\n" if draw.random() < 0.3 else word,
        lambda word: f"- {word}\n",
        lambda word: word + draw.choice(["...\n", "…\n", " #", ""]),
        lambda word: str(draw.randint(0, 9999)) if draw.random() < 0.3 else word,
        lambda word: word * draw.randint(1, 4),
        lambda word: draw.choice(["javascript", "lorem ipsum", "{", "cookie policy", *[word] * 40]),
    ]
    for _ in range(500):
        words = draw.choice(real).split(" ")[: draw.randint(1, 400)] * draw.choice([1, 1, 2, 3])
        spoil = draw.choice(spoils)
        real.append(" ".join(spoil(word) for word in words))
    return real


@pytest.mark.parametrize("table", ["gopher", "repetition", "c4", "fineweb"])
def test_verdicts_are_those_of_datatrove(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datatrove", reason="datatrove is not installed")
    from datatrove.data import Document
    from datatrove.pipeline import filters
    from datatrove.utils import text as reference_text
    from datatrove.utils import word_tokenizers

    monkeypatch.setattr(word_tokenizers, "load_word_tokenizer", lambda language: Words())
    reference: Any = {
        "gopher": filters.GopherQualityFilter,
        "repetition": filters.GopherRepetitionFilter,
        "c4": filters.C4QualityFilter,
        "fineweb": filters.FineWebQualityFilter,
    }[table]()
    ours = engine().Cleaner(json.dumps({table: {}}))
    all_texts, differ = texts(), []
    for text in all_texts:
        reference_text.split_into_parts.cache_clear()
        document = Document(text=text, id="")
        verdict = reference.filter(document)
        expected = None if verdict is True else NAMES[verdict[1]]
        dropped, after, _ = ours.text(text)
        if (dropped and dropped[0]) != expected or (dropped is None and after != document.text):
            differ.append((text[:60], dropped, expected))
    # sentences are counted with abbreviations known, and without
    assert len(differ) <= (0.02 * len(all_texts) if table == "c4" else 0), differ[:5]
