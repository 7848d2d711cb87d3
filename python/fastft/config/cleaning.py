"""What rows are held to: `[data.clean]`, `[data.dedup]` and `[data.decontaminate]`.

Every table that is there is on, and every rule has a name in the books. Thresholds are the published
ones; 0 turns one off.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fastft.config.section import Section
from fastft.core.units import parse_bytes

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class RepairConfig(Section):
    """Repairs of obvious errors of Unicode."""

    mojibake: bool = True
    """UTF-8 that was read as Latin-1 or Windows-1252, once or several times, where that is certain."""
    control: bool = True
    """Control characters: C1 become what Windows-1252 meant, others but tab and line ends are removed."""
    zero_width: bool = True
    """Remove byte order marks, and zero-width spaces and joiners where they join nothing."""
    nfc: bool = False
    """Write letters and their accents as one character."""
    max_replacement: Fraction = 0.01
    """Rows with a larger part of U+FFFD go: their bytes are lost. 1 keeps all."""


class LengthConfig(Section):
    """Bounds of a row's length."""

    min_chars: Count = 0
    """Characters, at least."""
    max_chars: Count = 0
    """Characters, at most."""
    min_words: Count = 0
    """Words, at least; in scripts without spaces, characters."""
    max_words: Count = 0
    """Words, at most."""

    @model_validator(mode="after")
    def _leaves_something(self) -> LengthConfig:
        for unit in ("chars", "words"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if most and least > most:
                raise ValueError(f"`min_{unit}` = {least:,} is more than `max_{unit}` = {most:,}: no row would be left")
        return self


class LanguageConfig(Section):
    """Which languages stay."""

    languages: list[str] = Field(default=[])
    """ISO 639 codes to keep, as `en` or `eng`, of 69 languages; with a model, its labels without `__label__`."""
    fasttext: str | None = None
    """A fastText model that tells the language, as `lid.176.ftz` or GlotLID; without one, trigrams do (whatlang)."""
    min_confidence: Fraction = 0.0
    """Rows whose language is told with less confidence go."""
    min_letters: Count = 40
    """Rows of fewer letters stay: nobody can tell."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> LanguageConfig:
        if not self.languages and not self.min_confidence:
            raise ValueError("name `languages` to keep, or a `min_confidence`")
        return self


class BlockConfig(Section):
    """Words and patterns that no row may hold."""

    words: list[str] = Field(default=[])
    """Words, phrases, or regular expressions between slashes; case does not count."""
    files: list[str] = Field(default=[])
    """Files of the same, one a line; lines that begin with `#` are comments."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> BlockConfig:
        if not self.words and not self.files:
            raise ValueError("name `words` or `files`")
        return self


class GopherConfig(Section):
    """Quality rules of Gopher (Rae et al. 2021)."""

    min_words: Count = 50
    """Words, at least."""
    max_words: Count = 100_000
    """Words, at most."""
    min_mean_word_length: Annotated[float, Field(ge=0)] = 3.0
    """Mean characters of a word, at least; not for scripts without spaces."""
    max_mean_word_length: Annotated[float, Field(ge=0)] = 10.0
    """Mean characters of a word, at most; not for scripts without spaces."""
    max_symbol_word_ratio: Fraction = 0.1
    """`#`, and ellipses, for each word, at most."""
    max_bullet_lines: Fraction = 0.9
    """Part of the lines that begin with a bullet, at most."""
    max_ellipsis_lines: Fraction = 0.3
    """Part of the lines that end with an ellipsis, at most."""
    min_alphabetic_words: Fraction = 0.8
    """Part of the words that have a letter, at least."""
    min_stop_words: Count = 2
    """How many different `stop_words` a row has, at least; not for scripts without spaces."""
    stop_words: list[str] = Field(default=["the", "be", "to", "of", "and", "that", "have", "with"])
    """Words that any running text has: English by default."""


class RepetitionConfig(Section):
    """Repetition rules of Gopher (Rae et al. 2021)."""

    max_duplicate_lines: Fraction = 0.3
    """Part of the lines that were there before, at most."""
    max_duplicate_paragraphs: Fraction = 0.3
    """Part of the paragraphs that were there before, at most."""
    max_duplicate_line_chars: Fraction = 0.2
    """Part of the characters in such lines, at most."""
    max_duplicate_paragraph_chars: Fraction = 0.2
    """Part of the characters in such paragraphs, at most."""
    max_top_ngrams: Annotated[list[Fraction], Field(min_length=3, max_length=3)] = Field(default=[0.2, 0.18, 0.16])
    """Part of the characters in the most frequent run of 2, 3, 4 words, at most."""
    max_duplicate_ngrams: Annotated[list[Fraction], Field(min_length=6, max_length=6)] = Field(
        default=[0.15, 0.14, 0.13, 0.12, 0.11, 0.1]
    )
    """Part of the characters in repeated runs of 5, 6, 7, 8, 9, 10 words, at most."""


class C4Config(Section):
    """Rules of C4 (Raffel et al. 2020); plain text also loses single lines."""

    terminal_punctuation: bool = True
    """Lines have to end with `.`, `?`, `!` or a quotation mark."""
    min_sentences: Count = 5
    """Sentences in the lines that stay, at least."""
    min_words_per_line: Count = 3
    """Words of a line, at least."""
    max_word_chars: Count = 1000
    """Lines with a longer word go."""
    remove_citations: bool = True
    """Remove `[1]`, `[edit]` and `[citation needed]`."""
    lorem_ipsum: bool = True
    """Rows with `lorem ipsum` go."""
    javascript: bool = True
    """Lines with `javascript` go."""
    curly_bracket: bool = True
    """Rows with `{` go."""
    policy: bool = True
    """Lines about cookies, privacy and terms of use go."""


class FinewebConfig(Section):
    """Rules of FineWeb (Penedo et al. 2024)."""

    min_punctuated_lines: Fraction = 0.12
    """Part of the lines that end a sentence, at least."""
    max_short_lines: Fraction = 0.67
    """Part of the lines that are short, at most."""
    short_line_chars: Count = 30
    """Characters of a short line, at most."""
    max_duplicate_chars: Fraction = 0.01
    """Part of the characters in lines that were there before, at most."""
    max_newlines_per_word: Fraction = 0.3
    """Line breaks for each word, at most."""


class SftConfig(Section):
    """Rules for the answers of conversations."""

    empty_answer: bool = True
    """Rows with an answer of nothing but punctuation go."""
    min_answer_chars: Count = 0
    """Characters of an answer, at least."""
    repeats_prompt: bool = True
    """Rows with an answer that begins by saying the whole question again (five words or more) go."""
    max_loop: Count = 5
    """How often a stretch of words may follow upon itself in an answer."""
    refusals: bool = False
    """Rows with an answer that begins by refusing go."""
    refusal_phrases: list[str] = Field(
        default=[
            "as an ai language model",
            "as a language model",
            "as an artificial intelligence",
            "i'm sorry, but i can't",
            "i'm sorry, but i cannot",
            "i'm sorry, i can't",
            "i am sorry, but i cannot",
            "sorry, but i can't",
            "i cannot assist",
            "i can't assist",
            "i can't help with",
            "i cannot help with",
            "i'm unable to assist",
            "i am unable to assist",
            "作为一个ai语言模型",
            "作为一个人工智能",
            "作为ai语言模型",
            "对不起，我不能",
            "抱歉，我不能",
            "很抱歉，我无法",
            "抱歉，我无法",
        ]
    )
    """How refusals begin; case does not count."""


class PiiConfig(Section):
    """Personal data and secrets, found by shape and check digits."""

    kinds: list[Literal["secret", "email", "iban", "cn_id", "credit_card", "us_ssn", "ip", "phone"]] = Field(
        default=["secret", "email", "iban", "cn_id", "credit_card", "us_ssn", "ip", "phone"], min_length=1
    )
    """What is looked for."""
    action: Literal["mask", "drop"] = "mask"
    """`mask` puts a placeholder as `[EMAIL]` in its place, `drop` leaves the row out."""


class CleanConfig(Section):
    """What rows are held to."""

    presets: list[Literal["gopher", "c4", "fineweb", "sft"]] = Field(default=[])
    """Tables to turn on with their defaults: `gopher` is `gopher` and `repetition`; `sft` is `repair` and `sft`."""
    repair: RepairConfig | None = None
    length: LengthConfig | None = None
    language: LanguageConfig | None = None
    block: BlockConfig | None = None
    gopher: GopherConfig | None = None
    repetition: RepetitionConfig | None = None
    c4: C4Config | None = None
    fineweb: FinewebConfig | None = None
    sft: SftConfig | None = None
    pii: PiiConfig | None = None

    def plan(self) -> dict[str, Any]:
        """What the engine is told, presets spelled out; tables that are written win over presets."""
        on: dict[str, Any] = {}
        for preset in self.presets:
            on |= {name: table().model_dump() for name, table in _PRESETS[preset].items()}
        return on | self.model_dump(exclude={"presets"}, exclude_none=True)


_PRESETS: dict[str, dict[str, type[Section]]] = {
    "gopher": {"gopher": GopherConfig, "repetition": RepetitionConfig},
    "c4": {"c4": C4Config},
    "fineweb": {"fineweb": FinewebConfig},
    "sft": {"repair": RepairConfig, "sft": SftConfig},
}


class EvaluationSetConfig(Section):
    """An evaluation set that no training row may hold."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """The rule is `decontaminate.<name>` in the books."""
    path: str
    """File, glob or folder: `.json`, `.jsonl`, anything else one item a line."""
    fields: list[str] = Field(default=[])
    """Which fields of a row make an item, each by itself; none is all texts of the row together."""


class DecontaminateConfig(Section):
    """Evaluation sets that no training row may hold."""

    sets: list[EvaluationSetConfig] = Field(min_length=1)
    ngram: Count = 13
    """Rows that share a run of so many words with an item go; shorter items are looked for whole."""
    overlap_ngram: Count = 8
    """Words of the runs that `overlap` counts."""
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Rows that hold this part of an item's runs go."""
    common: Count = 10
    """Runs that more items of a set share are common phrases and do not count."""
    min_tokens: Annotated[int, Field(ge=1)] = 8
    """Items of fewer words are not looked for."""


class NearConfig(Section):
    """Near duplicates by MinHash; the defaults are FineWeb's."""

    shingle: Annotated[int, Field(ge=1, le=64)] = 5
    """Words of a shingle; characters in scripts without spaces."""
    bands: Annotated[int, Field(ge=1, le=1024)] = 14
    """Rows that agree in all hashes of one band are candidates."""
    rows: Annotated[int, Field(ge=1, le=64)] = 8
    """Hashes of a band. Half of the pairs with a similarity of (1 / bands)^(1 / rows) are found."""
    threshold: Fraction = 0.0
    """Candidates with a lower estimated Jaccard similarity are no duplicates; 0 takes all."""
    seed: Count = 1
    """Chooses the hash functions."""


def _bytes(value: Any) -> Any:
    return parse_bytes(value) if isinstance(value, str) else value


class DedupConfig(Section):
    """Rows that say the same, over all sources: the first one stays."""

    exact: bool = True
    """Rows with the same text, roles, calls, tools, media and verdict."""
    ignore_case: bool = False
    """Upper and lower case are the same to `exact`."""
    ignore_whitespace: bool = False
    """Any white space is the same to `exact`."""
    near: NearConfig | None = None
    memory: Annotated[int, Field(ge=1 << 20), BeforeValidator(_bytes, json_schema_input_type=int | str)] = 256 << 20
    """Buffers of the search, as `"256MiB"`; beyond that, files are used. Besides come 4 bytes a row."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> DedupConfig:
        if not self.exact and self.near is None:
            raise ValueError("neither `exact` nor `near` duplicates are asked for")
        return self

    def plan(self) -> dict[str, Any]:
        """What the engine is told."""
        table = self.model_dump(exclude={"memory"}, exclude_none=True)
        return table | {"memory_bytes": self.memory}
