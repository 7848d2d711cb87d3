"""A tokenizer.json as tiktoken takes it: byte strings with their ranks, one pattern, special tokens.

tiktoken merges the pair whose joined bytes have the lowest id, after one split by one pattern and without normalization.
That is the same as a byte-level BPE of `tokenizers` when the pipeline has no more than that, and when ids stand in the
order of merges. Whatever has more is refused here, with the reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+"
"""What the pre-tokenizer `ByteLevel` splits by when it is told nothing else."""

IN_TEXT = sorted({*range(0xC0), *range(0xC2, 0xF5)})
"""Bytes that occur in UTF-8."""


class Refused(ValueError):
    """The pipeline has a part that tiktoken has no counterpart of."""


@dataclass(frozen=True)
class Ranks:
    """What `tiktoken.Encoding` is made of."""

    pattern: str
    ranks: dict[bytes, int]
    special: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Ranks:
        """Of a tokenizer.json.

        Raises:
            Refused: tiktoken would give other ids.
        """
        description = json.loads(path.read_text("utf-8"))
        model = description["model"]
        if model["type"] != "BPE" or model.get("byte_fallback"):
            raise Refused(f"{model['type']} that is not byte-level BPE")
        if description.get("normalizer"):
            raise Refused(f"normalizer {description['normalizer']['type']}")
        added = {token["content"]: token["id"] for token in description["added_tokens"]}
        letters = {letter: byte for byte, letter in enumerate(alphabet())}
        vocabulary = {token: rank for token, rank in model["vocab"].items() if token not in added}
        try:
            ranks = {bytes(letters[letter] for letter in token): rank for token, rank in vocabulary.items()}
        except KeyError as error:
            raise Refused(f"a token has the letter {error}, which stands for no byte") from None
        if missing := [f"0x{byte:02X}" for byte in IN_TEXT if bytes([byte]) not in ranks]:
            raise Refused(f"no token for the bytes {', '.join(missing)}")
        merges = ("".join(merge if isinstance(merge, list) else merge.split(" ")) for merge in model["merges"])
        # a token may have several merges; the first is when it can come up
        first = [model["vocab"][token] for token in dict.fromkeys(merges)]
        if first != sorted(first):
            raise Refused("ids are not in the order of merges")
        return cls(pattern(description["pre_tokenizer"]), ranks, added)


def alphabet() -> list[str]:
    """The letter that byte-level vocabularies write for each byte: itself where it is visible, else one from U+0100 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(others)) for byte in range(256)]


def pattern(description: dict[str, Any] | None) -> str:
    """The one pattern of a pre-tokenizer."""
    parts = [description] if description else []
    if description and description["type"] == "Sequence":
        parts = description["pretokenizers"]
    found = []
    for part in parts:
        if part["type"] == "ByteLevel":
            if part["add_prefix_space"]:
                raise Refused("a space is put before texts")
            found += [GPT2] if part["use_regex"] else []
        elif part["type"] == "Split" and "Regex" in part["pattern"] and part["behavior"] in ("Isolated", "Removed"):
            if part["behavior"] == "Removed" and not part["invert"]:
                raise Refused("a split that drops what it finds")
            found.append(part["pattern"]["Regex"])
        else:
            raise Refused(f"pre-tokenizer {part['type']}")
    if len(found) != 1:
        raise Refused(f"{len(found)} splits one after the other")
    return found[0]
