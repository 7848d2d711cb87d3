"""The tokenizer of a model: the live object, and the files that the data engine reads.

The files are written from the live object, so that they say what transformers would do, and
kept under a key of everything they are made from: a second call reads them back and imports
neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.config.kinds import TokenizerFiles
from fastft.core.errors import ModelError, UnsupportedError
from fastft.core.paths import cache_folder, new_folder
from fastft.models.resolve import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fastft.config.schema import ModelConfig

_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
_SOURCES = ("*token*", "*.jinja", "*vocab*", "merges.txt", "*.model", "config.json", "additional_chat_templates/*")
_FORMAT = 1
"""Part of the key: raise it when what is written changes."""


def tokenizer_files(config: ModelConfig) -> TokenizerFiles:
    """A model's tokenizer as the data engine reads it.

    Raises:
        ModelError: when the model has no tokenizer, or one that can't be written as `tokenizer.json`.
    """
    folder = resolve(config.path, config.revision, weights=False)
    target = cache_folder() / "tokenizers" / _key(folder, trusted=config.trust_remote_code)
    described = target / "fastft.json"
    if not described.is_file():
        _write(load_tokenizer(folder, trust_remote_code=config.trust_remote_code), target)
    values: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
    return TokenizerFiles(folder=target, **values)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The live tokenizer of a model folder.

    Raises:
        ModelError: when there is none, or it is of the slow kind that has no `tokenizer.json` form.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"`{folder}` has no tokenizer that can be read: {str(error).splitlines()[0]}",
            hint="copy `tokenizer.json` and `tokenizer_config.json` of the base model into it",
            code="model.no-tokenizer",
        ) from error
    if not tokenizer.is_fast:
        raise UnsupportedError(
            f"the tokenizer of `{folder}` is written in Python only and has no `tokenizer.json` form",
            hint="use a version of the model that ships `tokenizer.json`",
            code="model.slow-tokenizer",
        )
    return tokenizer


def _key(folder: Path, *, trusted: bool) -> str:
    """Hash of the names, sizes and contents of all files that the tokenizer is made from."""
    digest = hashlib.sha256(f"{_FORMAT}\0{version('transformers')}\0{version('tokenizers')}\0{trusted}\0".encode())
    for path in sorted({path for pattern in _SOURCES for path in folder.glob(pattern) if path.is_file()}):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:24]


def _write(tokenizer: PreTrainedTokenizerBase, target: Path) -> None:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # Padding and truncation belong to a call, not to the tokenizer, and the live object may carry the last call's.
    backend["padding"] = backend["truncation"] = None
    text = json.dumps(backend, ensure_ascii=False, separators=(",", ":"))
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    special = {role: str(token) for role in _ROLES if (token := getattr(tokenizer, role)) is not None}
    values: dict[str, Any] = {
        "chat_template": template,
        "special_tokens": special,
        "bos_id": tokenizer.bos_token_id,
        "eos_id": tokenizer.eos_token_id,
        "pad_id": tokenizer.pad_token_id,
        "vocab_size": max(tokenizer.get_vocab().values(), default=-1) + 1,
    }
    everything = json.dumps([text, values, version("transformers"), version("tokenizers")], sort_keys=True)
    values["key"] = hashlib.sha256(everything.encode()).hexdigest()
    try:
        with new_folder(target) as work:
            (work / "tokenizer.json").write_text(text, encoding="utf-8")
            (work / "fastft.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    except OSError:  # another process was first
        if not (target / "fastft.json").is_file():
            raise
