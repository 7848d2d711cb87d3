"""Tiny random models, a tokenizer of bytes, and packed batches, for every test that needs one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from fastft.config.kinds import Batch

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 288
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}


def model(kind: str = "llama", **changes: Any) -> PreTrainedModel:
    """A random causal language model; `changes` are config fields, on top of `SMALL` for the llama-like."""
    config = AutoConfig.for_model(kind, **{**SMALL, **changes})
    return from_config(config)


def from_config(config: Any) -> PreTrainedModel:
    """A seeded random model in float32."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and three control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({t: i for i, t in enumerate([*SPECIAL, *alphabet])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        chat_template=TEMPLATE,
    )


def folder(at: Path, kind: str = "llama", **changes: Any) -> Path:
    """A model and its tokenizer as a Hugging Face folder."""
    at.mkdir(parents=True, exist_ok=True)
    model(kind, **changes).save_pretrained(at)
    tokenizer().save_pretrained(at)
    return at


def documents(lengths: list[int], seed: int = 0, vocabulary: int = VOCABULARY) -> list[tuple[list[int], list[int]]]:
    """(ids, targets) of random documents; the second half of each carries a loss."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        given = length // 2
        made.append((ids, [-100] * (given - 1) + ids[given:] + [-100]))
    return made


def batch(docs: list[tuple[list[int], list[int]]]) -> Batch:
    """Documents laid end to end."""
    lengths = [len(ids) for ids, _ in docs]
    targets = torch.tensor([[t for _, ts in docs for t in ts]])
    return Batch(
        input_ids=torch.tensor([[i for ids, _ in docs for i in ids]]),
        targets=targets,
        position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
        cu_seqlens=torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32),
        max_seqlen=max(lengths),
        num_targets=int((targets != -100).sum()),
        windows=(0,),
    )
