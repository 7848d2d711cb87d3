"""GGUF files as Hugging Face folders, converted once and kept.

The weights are de-quantized by transformers' reader, the tokenizer is built here from the
file's metadata: transformers' own conversion of a byte-level BPE takes 40 s, drops the digit
splitting of some models and guesses the end token. Values that were quantized are kept in
bfloat16, whose rounding is far below the step of any quantization; float32 and float16 files
keep their type.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import ModelError, UnsupportedError
from fastft.core.need import need
from fastft.core.paths import new_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

VERSION = 1
"""Part of the cache key: raise it when a folder written by older code must not be used again."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# `tokenizer.ggml.pre` names how text is cut before BPE: a regex, or single digits and GPT-2's own.
_SPLITS = {
    "llama-bpe": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
}
_DIGITS = {"smollm", "starcoder", "refact", "command-r"}
_PLAIN = {"gpt-2", "default"}

_CONTROL, _USER_DEFINED = 3, 4
"""Kinds of token in `tokenizer.ggml.token_type`."""


def convert(path: Path, target: Path) -> Path:
    """Write the model of a GGUF file as a Hugging Face folder, unless it is there.

    Args:
        path: the `.gguf` file.
        target: the folder to make; it appears complete or not at all.

    Returns:
        `target`.

    Raises:
        UnsupportedError: without the `gguf` package, or for an architecture transformers can't read.
        ModelError: when the file can't be read.
    """
    if (target / "config.json").is_file():
        return target
    gguf = need("gguf", extra="embedded", what=f"reading `{path.name}`")
    try:
        reader = gguf.GGUFReader(str(path))
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise ModelError(f"`{path}` is no GGUF file that can be read: {error}", code="model.bad-gguf") from error
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    try:
        with new_folder(target) as work:
            _write_weights(path, metadata, work)
            tokenizer(path, metadata).save_pretrained(work)
    except OSError:  # another process was first; its folder is as good
        if not (target / "config.json").is_file():
            raise
    return target


def _write_weights(path: Path, metadata: dict[str, Any], folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    dtype = {0: torch.float32, 1: torch.float16}.get(metadata.get("general.file_type", -1), torch.bfloat16)
    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
    except ValueError as error:
        raise UnsupportedError(
            f"transformers can't read the architecture `{metadata.get('general.architecture')}` from GGUF: {error}",
            hint="use the model's original Hugging Face folder",
            code="model.gguf-architecture",
        ) from error
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        for name in getattr(model, "_tied_weights_keys", None) or {}:
            state.pop(name, None)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    # A model read from GGUF can't `save_pretrained` (its quantization "is not serializable"), its config can.
    config = model.config
    for key in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, key):
            delattr(config, key)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)


def tokenizer(path: Path, metadata: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer that a GGUF file describes.

    Args:
        path: the file, for kinds of tokenizer that are left to transformers.
        metadata: the file's fields by name.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    pre = metadata.get("tokenizer.ggml.pre", "default")
    known = pre in _SPLITS or pre in _DIGITS or pre in _PLAIN
    if metadata.get("tokenizer.ggml.model") != "gpt2" or not known:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        return loaded
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]

    def named(role: str) -> str | None:
        index = metadata.get(f"tokenizer.ggml.{role}_token_id")
        return tokens[index] if index is not None and 0 <= index < len(tokens) else None

    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=_byte_level_bpe(metadata, pre),
        bos_token=named("bos"),
        eos_token=named("eos"),
        unk_token=named("unknown"),
        pad_token=named("padding") or named("eos"),
        chat_template=metadata.get("tokenizer.chat_template"),
        model_max_length=metadata.get(f"{metadata['general.architecture']}.context_length", 1 << 20),
        clean_up_tokenization_spaces=False,
    )


def _byte_level_bpe(metadata: dict[str, Any], pre: str) -> Tokenizer:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    bpe = models.BPE({token: index for index, token in enumerate(tokens)}, merges, ignore_merges=pre == "llama-bpe")
    made = Tokenizer(bpe)
    if pre in _SPLITS:
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLITS[pre]), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    elif pre in _DIGITS:
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "qwen2":
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    if metadata.get("tokenizer.ggml.add_bos_token") and bos is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", pair=f"{tokens[bos]} $A {tokens[bos]} $B", special_tokens=[(tokens[bos], bos)]
        )
    else:
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [
            AddedToken(token, special=special, normalized=False)
            for token, k in zip(tokens, kinds, strict=True)
            if k == kind
        ]
        (made.add_special_tokens if special else made.add_tokens)(added)
    return made
