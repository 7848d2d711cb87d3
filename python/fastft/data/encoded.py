"""Files of text to a token store, by a tokenizer alone: no config, no model."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from fastft.config.kinds import Stage, TokenizerFiles
from fastft.config.schema import DataConfig
from fastft.core import paths
from fastft.core.errors import DataError, ModelError, ResourceError
from fastft.core.events import Bus
from fastft.data.plan import adds_bos
from fastft.data.prepare import prepare
from fastft.data.publish import publish

if TYPE_CHECKING:
    from fastft.data.dataset import TokenStore
    from fastft.data.tokenizer import Tokenizer

MOST_TOKENS = 2**24
"""Tokens of the longest document."""


class _Texts(Stage):
    """Documents of plain text."""

    rows: ClassVar[Literal["text"]] = "text"
    learns: ClassVar[bool] = False


def encode_file(
    tokenizer: Tokenizer,
    path: str | Path,
    out: str | Path | None,
    *,
    column: str,
    unit: str,
    add_special_tokens: bool,
    on_bad: str,
    threads: int,
    cache: Path | None,
    bus: Bus | None,
) -> TokenStore:
    """See `Tokenizer.encode_file`."""
    _check(column=column, unit=unit, on_bad=on_bad, threads=threads)
    cache = cache or paths.cache_folder()
    data = DataConfig.model_validate(
        {
            "train": [{"path": str(path), "format": {"kind": "text", "column": column, "unit": unit}}],
            "max_length": MOST_TOKENS,
            "truncate": "error",
            "packing": "none",
            "special_in_text": "parse",
            "on_bad": on_bad,
            "threads": threads,
        }
    )
    files = _files(tokenizer, add_special_tokens, cache)
    try:
        prepared = prepare(data, _Texts(), files, seed=0, cache=cache, bus=bus or Bus())
    except DataError as error:
        error.hint = error.hint and error.hint.replace("data.on_bad", "on_bad")  # there is no config here
        raise
    if out is not None:
        publish(prepared, Path(out))
    return prepared.train


def _files(tokenizer: Tokenizer, add_special_tokens: bool, cache: Path) -> TokenizerFiles:
    """The tokenizer as the engine's pipeline reads it, with the tokens around a text as BOS and EOS."""
    text = tokenizer.description
    before, behind = _around(tokenizer) if add_special_tokens else (None, None)
    special = {"bos_token": before, "eos_token": behind}
    tokens = {role: token for role, token in special.items() if token is not None}
    made_of = json.dumps([text, tokens, version("tokenizers")], sort_keys=True)
    key = hashlib.sha256(made_of.encode()).hexdigest()
    folder = cache / "tokenizers" / f"text-{key[:24]}"
    _write(folder / "tokenizer.json", text.encode())
    ids = {role: tokenizer.token_to_id(token) for role, token in tokens.items()}
    files = TokenizerFiles(
        folder=folder,
        chat_template=None,
        special_tokens=tokens,
        bos_id=ids.get("bos_token"),
        eos_id=ids.get("eos_token"),
        pad_id=None,
        vocab_size=tokenizer.vocab_size,
        key=key,
    )
    if before is not None and not adds_bos(files):
        raise _not_around()
    return files


def _check(*, column: str, unit: str, on_bad: str, threads: int) -> None:
    if not isinstance(column, str) or not column:
        raise ValueError(f"`column` is {column!r}; expected the name of a column")
    if unit not in (units := ("line", "paragraph", "file")):
        raise ValueError(f"`unit` is {unit!r}; expected one of {', '.join(units)}")
    if on_bad not in (ways := ("fail", "quarantine")):
        raise ValueError(f"`on_bad` is {on_bad!r}; expected one of {', '.join(ways)}")
    if threads < 0:
        raise ValueError(f"`threads` is {threads}; expected a number of threads, or None for one a core")


def _write(file: Path, content: bytes) -> None:
    """Make the file have this content: what is there may be damaged."""
    try:
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            paths.write_atomic(file, content)
    except OSError as error:
        said = f"the cache can't be written: {error}"
        raise ResourceError(said, hint="name another folder: `cache=`", code="resource.cache") from error


def _around(tokenizer: Tokenizer) -> tuple[str | None, str | None]:
    """The token that is put before a text, and the one behind."""
    found: list[str | None] = []
    for ids in tokenizer.around:
        token = tokenizer.decode(ids) if ids else None
        if len(ids) > 1 or (token is not None and tokenizer.token_to_id(token) != ids[0]):
            raise _not_around()
        found.append(token)
    return found[0], found[1]


def _not_around() -> ModelError:
    return ModelError(
        "the tokenizer puts more around a text than a token before it and one behind",
        hint="encode with `add_special_tokens=False`, and add them where the ids are used",
        code="model.tokens-around",
    )
