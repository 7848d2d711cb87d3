"""Whether the engine's own ids are those of the installed `tokenizers`: compared once for each tokenizer, and kept.

The engine has code of its own for most tokenizers. Before it is used, its ids of the probes below are compared with
those of the library that transformers uses. While rows are prepared the engine goes on comparing: of one
text in 4,096, behind the first 65,536.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import ModelError
from fastft.core.events import Warned
from fastft.data.engine import engine

if TYPE_CHECKING:
    from fastft.config.kinds import TokenizerFiles
    from fastft.core.events import Bus

PROBES = (
    "",
    " ",
    "  \t \n\n \r\n  x ",
    "Hello, world! It's what they'LL say: don't, we've, I'm, you'd 'S 'T",
    "def f(x):\n    return {'a': [1, 22, 333, 4444], \"b\": x ** -2.5e10}  # ok\n\n\tif not x:\n\t\tpass\n",
    "https://example.com/a?b=c&d=%20e#f snake_case camelCase SHOUTING 1st 2nd 3,000.50 \u00bd \u00b2 \u0664\u0665 \u2167",
    "Gr\u00fc\u00dfe, na\u00efve caf\u00e9 e\u0301 \u212b A\u030a \u01c5 \ufb01 \u017fs \u0130i \u1e9e",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0541\u0561\u0575",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u3000\uff21\uff22\uff11",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u093c\u0958 \u0e44\u0e17\u0e22 \u0baa",
    "\U0001f642\u200d\u2642\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U00020000 \ufffd",
    "\x00\x01\x04\x1b[0m \x7f\x85\xa0\u180e\u2028\u2029\u200b\ufeff \u2581\u2581a\u2581",
    "a" * 300 + " " * 70 + "\n" * 40 + "!?" * 50 + "\u4e00" * 60 + "1234567890" * 8,
)


@dataclass(frozen=True)
class Proof:
    """What is known of a tokenizer's ids.

    Attributes:
        engine: `fastft` where the engine makes them itself, `tokenizers` where the library does.
        reason: why it is the library although the engine could: where they differ; None otherwise.
    """

    engine: str
    reason: str | None = None


def folder(cache: Path | None = None) -> Path:
    """Where verdicts are kept, and what the engine makes of each tokenizer.json."""
    return (cache or paths.cache_folder()) / "ids"


def proof(tokenizer: TokenizerFiles, cache: Path | None = None) -> Proof:
    """Compare the engine's ids with the library's, or find what was found before.

    Args:
        tokenizer: whose ids.
        cache: where verdicts are kept; None is fastft's cache.
    """
    kept = _path(tokenizer, cache)
    if (known := _read(kept)) is not None:
        return known
    found = compare((tokenizer.folder / "tokenizer.json").read_text(encoding="utf-8"))
    _keep(kept, found)
    return found


def compare(description: str) -> Proof:
    """Compare the engine's ids of the probes with those of the installed `tokenizers`.

    Args:
        description: the text of a tokenizer.json.
    """
    native = engine().Tokenizer(description)
    if not native.own:
        return Proof("tokenizers")
    from tokenizers import Tokenizer

    reference = Tokenizer.from_str(description)
    added = sorted(token.content for token in reference.get_added_tokens_decoder().values())
    for text in (*PROBES, *(f"a{token} b {token}{token}\n{token}" for token in added[:: len(added) // 8 + 1])):
        expected = reference.encode(text, add_special_tokens=False).ids
        got = _ids(native, text)
        if got != expected:
            at = next((at for at, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), None)
            where = "their number" if at is None else f"token {at}, {got[at]} and not {expected[at]}"
            return Proof("tokenizers", f"its ids of {text[:60]!r} are others than the library's: {where}")
    return Proof("fastft")


@contextmanager
def watched(tokenizer: TokenizerFiles, cache: Path | None = None) -> Iterator[None]:
    """Let the library make all ids of a tokenizer from now on when the engine finds that its own are others.

    Raises:
        ModelError: it did; what was made of the rows is of no use.
    """
    try:
        yield
    except ModelError as error:
        if error.code != "model.tokenizer-differs":
            raise
        _keep(_path(tokenizer, cache), Proof("tokenizers", error.message))
        hint = "run it again: from now on the library makes all its ids"
        raise ModelError(error.message, hint=hint, code=error.code) from None


def verdicts(cache: Path | None = None) -> list[Proof]:
    """What was found of the tokenizers that were used so far."""
    kept = sorted(folder(cache).glob("*.json"))
    return [found for path in kept if (found := _read(path)) is not None]


NO_CODE = "the engine has no code of its own for its kind"


def in_library(why: str) -> str:
    """That the library makes the ids, which takes many times as long."""
    return f"the `tokenizers` library makes the ids, slowly: {why}"


def tell(found: Proof, bus: Bus) -> None:
    """Say so where it does."""
    if found.engine != "fastft":
        bus.emit(Warned("data.tokenizer-in-library", in_library(found.reason or NO_CODE)))


def _ids(native: Any, text: str) -> list[int]:
    import numpy as np

    made = native.encode([text], False, False, 1)
    ids = np.empty(len(made), np.uint32)
    made.write_ids(ids)
    found: list[int] = ids.tolist()
    return found


def _path(tokenizer: TokenizerFiles, cache: Path | None) -> Path:
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    built = Path(str(engine().__file__)).stat()
    made_of = [tokenizer.key, version("tokenizers"), built.st_size, built.st_mtime_ns, code]
    name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    return folder(cache) / f"{name}.json"


def _read(path: Path) -> Proof | None:
    """A verdict; None where it is not there or broken, and has to be found anew."""
    try:
        return Proof(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _keep(path: Path, found: Proof) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_atomic(path, json.dumps({"engine": found.engine, "reason": found.reason}) + "\n")
