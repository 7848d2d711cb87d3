"""GGUF files as Hugging Face folders, converted once and kept.

Plain llama-like files are converted here, in one pass over the file; other architectures by
transformers' reader, which passes over it several times. The tokenizer is built from the
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
    import torch
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
            if not _write_llama(reader.tensors, metadata, work):
                _write_weights(path, metadata, work)
            tokenizer(path, metadata).save_pretrained(work)
    except OSError:  # another process was first; its folder is as good
        if not (target / "config.json").is_file():
            raise
    return target


_LLAMA_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LLAMA_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def _llama_name(name: str) -> str | None:
    """Transformers' name of a tensor of a llama GGUF file; None for one that a plain llama does not have."""
    stem, _, kind = name.rpartition(".")
    if kind != "weight":
        return None
    if stem in _LLAMA_TOP:
        return f"{_LLAMA_TOP[stem]}.weight"
    block, _, rest = stem.removeprefix("blk.").partition(".")
    inner = _LLAMA_LAYER.get(rest)
    return f"model.layers.{block}.{inner}.weight" if stem.startswith("blk.") and inner else None


def _write_llama(tensors: list[Any], metadata: dict[str, Any], folder: Path) -> bool:
    """Write weights and config of a plain llama; False, and nothing written, for any other model."""
    names = {tensor.name: _llama_name(tensor.name) for tensor in tensors}
    special = ("llama.expert_count", "llama.rope.scaling.type", "llama.rope.scaling.factor")
    if metadata.get("general.architecture") != "llama" or None in names.values() or set(special) & set(metadata):
        return False
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig

    dtype = _stored_as(metadata)
    heads = int(metadata["llama.attention.head_count"])
    kv_heads = int(metadata.get("llama.attention.head_count_kv", heads))
    state = {}
    for tensor in tensors:
        value = torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
        rows = {"attn_q": heads, "attn_k": kv_heads}.get(tensor.name.split(".")[-2])
        if rows is not None:  # GGUF interleaves the two halves that rotary embedding turns against each other
            value = value.view(rows, -1, 2, value.shape[-1]).transpose(1, 2).reshape(value.shape)
        state[str(names[tensor.name])] = value.to(dtype).contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    ids: dict[str, Any] = {role: metadata.get(f"tokenizer.ggml.{key}_token_id") for role, key in _ROLE_KEYS.items()}
    hidden = int(metadata["llama.embedding_length"])
    config = LlamaConfig(
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        hidden_size=hidden,
        intermediate_size=int(metadata["llama.feed_forward_length"]),
        num_hidden_layers=int(metadata["llama.block_count"]),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=int(metadata.get("llama.attention.key_length", hidden // heads)),
        max_position_embeddings=int(metadata["llama.context_length"]),
        rms_norm_eps=float(metadata["llama.attention.layer_norm_rms_epsilon"]),
        rope_parameters={"rope_type": "default", "rope_theta": float(metadata.get("llama.rope.freq_base", 10000.0))},
        tie_word_embeddings="lm_head.weight" not in state,
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
        **ids,
    )
    config.save_pretrained(folder)
    GenerationConfig(**ids).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return True


_ROLE_KEYS = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}


def _stored_as(metadata: dict[str, Any]) -> torch.dtype:
    """The type to keep the weights of a file in."""
    import torch

    return {0: torch.float32, 1: torch.float16}.get(metadata.get("general.file_type", -1), torch.bfloat16)


def _write_weights(path: Path, metadata: dict[str, Any], folder: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    dtype = _stored_as(metadata)
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
