"""A tokenizer by itself: text to ids by the data engine, equal to the `tokenizers` library's."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from fastft.core.errors import DataError, ModelError
from fastft.data import proof
from fastft.data.engine import engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastft.core.events import Bus
    from fastft.data.dataset import TokenStore


@dataclass(frozen=True)
class Tokens:
    """Tokens of several texts, one after the other.

    Attributes:
        ids: uint32 `[N]`.
        offsets: uint32 `[N, 2]`, the first byte of each token in its text (as UTF-8) and the one behind its last; `[0, 2]`
            where they were not asked for. Tokens that stand around a text are empty there. Of tokens that share a
            character, each has the whole character or its own bytes. Where the tokenizer's post-processor has
            `trim_offsets`, spaces at either end of a token are left out, as the library does.
        counts: int64 `[texts]`.
    """

    ids: NDArray[np.uint32]
    offsets: NDArray[np.uint32]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint32]: ...

    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint32]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.uint32] | list[NDArray[np.uint32]]:
        """The ids of one text, as a view; of a slice, a list of them."""
        count = len(self)
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(count))]
        if not -count <= index < count:
            raise IndexError(f"text {index} of {count}")
        end = self._ends[index]
        return self.ids[end - self.counts[index] : end]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return self.counts.cumsum()


class Tokenizer:
    """Text to ids and back.

    Args:
        description: the text of a tokenizer.json.
        cache: where what is made of it is kept; None is fastft's cache.

    Raises:
        ModelError: it is none, or one whose ids are random.
    """

    def __init__(self, description: str, *, cache: str | Path | None = None) -> None:
        with _usable():
            self._native = engine().Tokenizer(description, proof.folder(None if cache is None else Path(cache)))
        self._begin(cache)

    @classmethod
    def open(cls, path: str | Path, *, cache: str | Path | None = None) -> Tokenizer:
        """The tokenizer.json at a path; of BPE, what is made of it is kept, and loads in a fraction of the time.

        Args:
            path: of the file.
            cache: where what is made of it is kept; None is fastft's cache.

        Raises:
            ModelError: it is none, or one whose ids are random.
        """
        made = cls.__new__(cls)
        with _usable():
            made._native = engine().Tokenizer.open(Path(path), proof.folder(None if cache is None else Path(cache)))
        made._begin(cache)
        return made

    def _begin(self, cache: str | Path | None) -> None:
        self._cache = cache
        self._is_told = False
        self._tell()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Tokenizer, cache=self._cache), (self.description,)

    @property
    def description(self) -> str:
        """The text of its tokenizer.json, as it was when it was opened."""
        text: str = self._native.description
        return text

    @property
    def vocab_size(self) -> int:
        """Ids are below this."""
        return int(self._native.vocab_size)

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """The ids that it puts before and behind a text."""
        before, behind = self._native.around
        return before, behind

    @property
    def engine(self) -> str:
        """What makes the ids: `fastft`, or `tokenizers` for pipelines that fastft has no code of its own for."""
        return "fastft" if self._native.own else "tokenizers"

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of one text.

        Args:
            text: any text; special tokens that stand in it are matched.
            add_special_tokens: put those around it that the tokenizer does, as transformers does by default.
        """
        ids: list[int] = self.encode_batch([text], add_special_tokens=add_special_tokens, threads=1).ids.tolist()
        return ids

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        add_special_tokens: bool = True,
        offsets: bool = False,
        threads: int | None = None,
    ) -> Tokens:
        """Ids of many texts at once.

        Args:
            texts: the texts.
            add_special_tokens: see `encode`.
            offsets: say where in its text each token comes from.
            threads: how many threads work; by default one a core.

        Raises:
            DataError: a text can't be tokenized, as one of 4 GiB or one with half of a surrogate pair.
            TypeError: it is one text, or one of them is none.
        """
        import numpy as np

        native = self._encode(texts, add_special_tokens, offsets, threads)
        ids, places = np.empty(len(native), np.uint32), np.empty((len(native) if offsets else 0, 2), np.uint32)
        native.write_ids(ids)
        if offsets:
            native.write_offsets(places.reshape(-1))
        return Tokens(ids, places, np.asarray(native.counts, np.int64))

    def count(
        self, texts: Iterable[str], *, add_special_tokens: bool = True, threads: int | None = None
    ) -> NDArray[np.int64]:
        """Tokens of each text; arguments as `encode_batch`."""
        import numpy as np

        return np.asarray(self._encode(texts, add_special_tokens, False, threads).counts, np.int64)

    def encode_file(
        self,
        path: str | Path,
        out: str | Path | None = None,
        *,
        column: str = "text",
        unit: Literal["line", "paragraph", "file"] = "line",
        add_special_tokens: bool = True,
        on_bad: Literal["fail", "quarantine"] = "fail",
        threads: int | None = None,
        cache: str | Path | None = None,
        bus: Bus | None = None,
    ) -> TokenStore:
        """Ids of the texts of files of any size, in a store on the disk: a second call finds it there.

        Args:
            path: a file, folder, pattern or address: JSONL, CSV, Parquet, Arrow or plain text, compressed or not.
            out: a new folder for the store; by default it is in the cache only.
            column: where the text stands in rows.
            unit: what a text of a plain text file is: a line that is not blank, lines up to a blank one, or all of it
                but the end of its last line.
            add_special_tokens: put those around each text that the tokenizer does.
            on_bad: a row that can't be used, as one without the column, ends it with its place; or is set aside in the
                store's `rejected.jsonl` and counted in its books.
            threads: how many threads work; by default one a core.
            cache: folder of prepared data; by default fastft's.
            bus: hears of progress and warnings.

        Returns:
            The store: `document(i)`, `place(i)`, `arrow()`, `tokens`, `manifest["books"]`.

        Raises:
            DataError: a row or file can't be used.
            ModelError: more than one token goes before or behind a text.
            ResourceError: `out` holds something else, or the cache can't be written.
            ValueError: an argument is not one of those above.
        """
        from fastft.data.encoded import encode_file

        return encode_file(
            self,
            path,
            out,
            column=column,
            unit=unit,
            add_special_tokens=add_special_tokens,
            on_bad=on_bad,
            threads=threads or 0,
            cache=None if cache is None else Path(cache),
            bus=bus,
        )

    def _encode(self, texts: Iterable[str], add_special_tokens: bool, offsets: bool, threads: int | None) -> Any:
        if isinstance(texts, str | bytes):
            raise TypeError("expected texts and got one, whose letters would be texts; put it in a list: `[text]`")
        if threads is not None and threads < 0:
            raise ValueError(f"`threads` is {threads}; expected a number of threads, or None for one a core")
        texts = list(texts)
        try:
            made = self._native.encode(texts, add_special_tokens, offsets, threads or 0)
        except (ValueError, TypeError) as error:
            for index, text in enumerate(texts):
                if not isinstance(text, str):
                    raise TypeError(f"text {index} is no str but {type(text).__name__}") from None
                _check_characters(index, text)
            raise DataError(f"a text can't be tokenized: {error}", code="data.tokenizer") from error
        self._tell()
        return made

    def _tell(self) -> None:
        """Say once that the library makes the ids, which takes many times as long."""
        if self._is_told or self._native.own:
            return
        self._is_told = True
        text = self._native.different
        why = proof.NO_CODE if text is None else f"fastft's ids of {text[:60]!r} are others, which is a bug: tell us"
        warnings.warn(proof.in_library(why), RuntimeWarning, stacklevel=4)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids.

        Raises:
            DataError: they can't be decoded.
            TypeError: they are no whole numbers.
        """
        if isinstance(ids, str | bytes):
            raise TypeError(f"expected ids and got {type(ids).__name__}; put whole numbers in a list")
        try:
            text: str = self._native.decode([operator.index(each) for each in ids], skip_special_tokens)
        except (ValueError, OverflowError) as error:
            raise DataError(f"the ids can't be decoded: {error}", code="data.tokenizer") from error
        return text

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, None when there is none of this text."""
        found: int | None = self._native.token_to_id(token)
        return found


def _check_characters(index: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        said = f"text {index} can't be tokenized: it has half of a surrogate pair at character {error.start}"
        hint = 'leave it out: `text.encode("utf-8", "replace").decode()` puts `?` in its place'
        raise DataError(said, hint=hint, code="data.tokenizer") from error


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ModelError(
            f"the tokenizer can't be used: {error}",
            hint="give a `tokenizer.json` as the `tokenizers` library writes it",
            code="model.tokenizer",
        ) from error


def description(source: Any) -> str | None:
    """The tokenizer.json of a live tokenizer of transformers or `tokenizers`; None for anything else."""
    backend = getattr(source, "backend_tokenizer", source)
    write = getattr(backend, "to_str", None)
    return None if write is None else str(write())
