"""Engines that turn text to ids, each behind the same three calls: load, encode, ids.

Only the standard library is imported at module level, so that the Python of any engine can run this file. An engine is
called in the form that costs it least (one buffer of ids where it has one), without tokens around the text; turning its
answer into comparable bytes is not part of what is timed.
"""

from __future__ import annotations

import array
import importlib.metadata
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Engine(ABC):
    """What a benchmark asks of an engine.

    Attributes:
        package: the distribution that it comes in.
        pinned: the release that is measured; None: whichever is there.
        needs: what else that release has to be installed with.
    """

    package = ""
    pinned: str | None = None
    needs: tuple[str, ...] = ()

    @classmethod
    def version(cls) -> str | None:
        """The installed release; None when it is not there, or is another than the one that is pinned."""
        try:
            found = importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return None
        return found if cls.pinned in (None, found) else None

    @staticmethod
    @abstractmethod
    def bring() -> None:
        """Import what `load` needs."""

    @abstractmethod
    def __init__(self, path: Path, threads: int) -> None:
        """Load a tokenizer.json; what it raises is why the engine refuses it."""

    def warm_up(self, texts: list[str]) -> None:
        """Whatever an engine does only once, on texts whose words are not those that will be measured."""
        self.encode(texts)

    @abstractmethod
    def encode(self, texts: list[str]) -> Any:
        """Ids of texts in the engine's own form. This is what is timed."""

    @abstractmethod
    def ids(self, found: Any) -> list[bytes]:
        """The ids of each text as bytes, 4 an id."""


def pack(ids: Iterable[int]) -> bytes:
    return array.array("I", ids).tobytes()


def cut(ids: bytes, ends: Sequence[int]) -> list[bytes]:
    """One buffer of ids, cut where texts begin and end."""
    return [ids[4 * low : 4 * high] for low, high in itertools.pairwise(ends)]


class Fastft(Engine):
    package = "fastft"

    @classmethod
    def version(cls) -> str | None:
        import fastft

        return fastft.__version__

    @staticmethod
    def bring() -> None:
        import numpy  # noqa: F401

        from fastft.data.engine import engine

        engine()

    def __init__(self, path: Path, threads: int) -> None:
        import fastft

        self.tokenizer, self.threads = fastft.tokenizer(path), threads

    def encode(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch(texts, add_special_tokens=False, threads=self.threads)

    def ids(self, found: Any) -> list[bytes]:
        return [found[index].tobytes() for index in range(len(found))]


class Tokenizers(Engine):
    """The reference: whichever of its two ways to encode a batch is the faster one here."""

    package, pinned = "tokenizers", "0.23.3"

    @staticmethod
    def bring() -> None:
        import tokenizers  # noqa: F401

    def __init__(self, path: Path, threads: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.call = self.tokenizer.encode_batch_fast

    def warm_up(self, texts: list[str]) -> None:
        ways = (self.tokenizer.encode_batch_fast, self.tokenizer.encode_batch)
        taken = dict.fromkeys(ways, float("inf"))
        for way in ways * 3:
            begin = time.process_time()
            way(texts * 20, add_special_tokens=False)
            taken[way] = min(taken[way], time.process_time() - begin)
        self.call = min(ways, key=taken.__getitem__)

    def encode(self, texts: list[str]) -> Any:
        return self.call(texts, add_special_tokens=False)

    def ids(self, found: Any) -> list[bytes]:
        return [pack(encoding.ids) for encoding in found]


class Candidate(Tokenizers):
    """The next release of the reference; it has one way to encode."""

    pinned = "1.0.0rc3"

    def __init__(self, path: Path, threads: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.call = self.tokenizer.encode_batch

    def warm_up(self, texts: list[str]) -> None:
        self.encode(texts)


class Gigatoken(Engine):
    package, pinned = "gigatoken", "0.10.0"

    @staticmethod
    def bring() -> None:
        import awkward  # noqa: F401
        import gigatoken  # noqa: F401

    def __init__(self, path: Path, threads: int) -> None:
        from gigatoken import Tokenizer

        self.tokenizer, self.parallel = Tokenizer.from_json(path.read_bytes()), threads > 1

    def encode(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch(texts, parallel=self.parallel)

    def ids(self, found: Any) -> list[bytes]:
        import awkward
        import numpy

        ids = numpy.asarray(awkward.flatten(found), dtype=numpy.uint32).tobytes()
        return cut(ids, [0, *itertools.accumulate(awkward.num(found).tolist())])


class Fastokens(Engine):
    package, pinned = "fastokens", "0.3.5"
    module = "fastokens"

    @classmethod
    def bring(cls) -> None:
        __import__(cls.module)

    def __init__(self, path: Path, threads: int) -> None:
        self.tokenizer = __import__(self.module).Tokenizer.from_file(str(path))

    def encode(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_flat(texts, add_special_tokens=False)

    def ids(self, found: Any) -> list[bytes]:
        return cut(found[0], memoryview(found[1]).cast("Q").tolist())


class Snaptokens(Fastokens):
    package, pinned = "snaptokens", "0.2.6"
    module = "snaptokens"


class Splintr(Engine):
    """Puts tokens around texts whenever a batch is encoded; they are taken off again."""

    package, pinned = "splintr-rs", "0.22.0"

    @staticmethod
    def bring() -> None:
        import splintr  # noqa: F401

    def __init__(self, path: Path, threads: int) -> None:
        import splintr

        self.tokenizer = splintr.from_json(str(path))
        inner, around = self.tokenizer.encode_raw("a"), self.tokenizer.encode("a")
        starts = (at for at in range(len(around)) if around[at : at + len(inner)] == inner)
        self.before = next(starts, 0)
        self.behind = len(around) - len(inner) - self.before

    def encode(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_flat(texts)

    def ids(self, found: Any) -> list[bytes]:
        rows = cut(found[0], memoryview(found[1]).cast("Q").tolist())
        return [row[4 * self.before : len(row) - 4 * self.behind] for row in rows]


class Tokie(Engine):
    package, pinned, needs = "tokie", "0.1.4", ("numpy",)

    @staticmethod
    def bring() -> None:
        import numpy  # noqa: F401
        import tokie  # noqa: F401

    def __init__(self, path: Path, threads: int) -> None:
        import tokie

        self.tokenizer = tokie.Tokenizer.from_json(str(path))

    def encode(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_flat(texts, add_special_tokens=False)

    def ids(self, found: Any) -> list[bytes]:
        return cut(found[0].tobytes(), [0, *itertools.accumulate(found[1].tolist())])


class Tiktoken(Engine):
    """Reads no tokenizer.json: `ranks.py` makes of one what it takes, where it can stand for it."""

    package, pinned = "tiktoken", "0.14.0"

    @staticmethod
    def bring() -> None:
        import tiktoken  # noqa: F401

    def __init__(self, path: Path, threads: int) -> None:
        import tiktoken
        from ranks import Ranks

        found = Ranks.read(path)
        self.tokenizer = tiktoken.Encoding(
            path.parent.name, pat_str=found.pattern, mergeable_ranks=found.ranks, special_tokens=found.special
        )
        self.special, self.threads = set(found.special), threads

    def encode(self, texts: list[str]) -> Any:
        if self.threads == 1:
            return [self.tokenizer.encode(text, allowed_special=self.special, disallowed_special=()) for text in texts]
        options = {"num_threads": self.threads, "allowed_special": self.special, "disallowed_special": ()}
        return self.tokenizer.encode_batch(texts, **options)

    def ids(self, found: Any) -> list[bytes]:
        return [pack(ids) for ids in found]


OURS, REFERENCE = "fastft", "tokenizers"
ENGINES: dict[str, type[Engine]] = {
    REFERENCE: Tokenizers,
    OURS: Fastft,
    "tokenizers 1.0": Candidate,
    "gigatoken": Gigatoken,
    "fastokens": Fastokens,
    "snaptokens": Snaptokens,
    "splintr": Splintr,
    "tokie": Tokie,
    "tiktoken": Tiktoken,
}
"""Name -> adapter, in the order of the table."""
