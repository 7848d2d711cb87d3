"""Whether a model's new wording of a text can be used in its place."""

from __future__ import annotations

import re
from collections import Counter

_CODE = re.compile(r"(?s)`{3,}.*?(?:`{3,}|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`")
_LINK = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*://|www\.|mailto:)[^\s<>\"'()\[\]{}\u3000-\u303f\uff00-\uffef]+")
_HOLDER = re.compile(r"<[^<>\n]{1,256}>|\[/?[A-Z][A-Z_]+\]|\{[^{}\n]*\}")
_NUMBER = re.compile(r"\d[\d.,:'\u00a0\u202f]*\d|\d")
_THINKING = re.compile(r"(?s)\A\s*<think(?:ing)?>.*?</think(?:ing)?>")
_REFUSAL = re.compile(
    r"(?i)\A\W*(?:(?:i['’]?m|i am) (?:sorry|unable|not able)|sorry,|i (?:can(?:no|['’])t|cannot|won['’]t)\b"
    r"|as an? (?:ai|language model|assistant)\b|unfortunately, i\b|i apologi[sz]e"
    r"|抱歉|对不起|很抱歉|作为(?:一个)?人工智能|申し訳|es tut mir leid|désolé|lo siento|desculpe)"
)
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("«", "»"), ("「", "」"))


def clean(answer: str, original: str) -> str:
    """The text of an answer: without thinking, and without quotes that the original does not have."""
    text = _THINKING.sub("", answer).strip()
    for begin, end in _QUOTES:
        if len(text) > 1 and text.startswith(begin) and text.endswith(end) and not original.strip().startswith(begin):
            inner = text[1:-1]
            text = inner.strip() if begin not in inner and end not in inner else text
    head = original[: len(original) - len(original.lstrip())]
    tail = original[len(original.rstrip()) :]
    return f"{head}{text}{tail}" if text else ""


def has_prose(text: str) -> bool:
    """Whether there is a word outside code, links and placeholders."""
    return any(letter.isalpha() for letter in _HOLDER.sub(" ", _LINK.sub(" ", _CODE.sub(" ", text))))


def why_not(original: str, text: str) -> str | None:
    """Why a new wording can't be used: `empty`, `refusal`, `length`, `code`, `link`, `placeholder` or `number`."""
    if not text.strip():
        return "empty"
    if _REFUSAL.search(text) and not _REFUSAL.search(original):
        return "refusal"
    if not len(original) / 4 - 20 <= len(text) <= 4 * len(original) + 80:
        return "length"
    for name, kind in (("code", _CODE), ("link", _LINK), ("placeholder", _HOLDER)):
        if Counter(kind.findall(original)) != Counter(kind.findall(text)):
            return name
    if _numbers(original) != _numbers(text):
        return "number"
    return None


def _numbers(text: str) -> Counter[str]:
    """The digits of each number: `1,234.5` and `1.234,5` are one number in two languages."""
    plain = _HOLDER.sub(" ", _LINK.sub(" ", _CODE.sub(" ", text)))
    return Counter("".join(c for c in number if c.isdigit()) for number in _NUMBER.findall(plain))
