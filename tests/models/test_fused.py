"""Modules of transformers served by ops: which, and that nothing but speed changes."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from fastft.models._fused import fuse
from fastft.ops import LIBRARIES

pytestmark = pytest.mark.skipif(not LIBRARIES["cpu"].loaded, reason="the CPU kernels are not built")

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": (LlamaConfig(**SIZES), {"rms_norm": 5, "swiglu": 2, "rope": 2}),
    "mistral": (MistralConfig(**SIZES, sliding_window=4), {"rms_norm": 5, "swiglu": 2, "rope": 2}),
    "qwen2": (Qwen2Config(**SIZES), {"rms_norm": 5, "swiglu": 2, "rope": 2}),
    "qwen3": (Qwen3Config(**SIZES, head_dim=8), {"rms_norm": 9, "swiglu": 2, "rope": 2}),
    # its MLP is gated by gelu
    "gemma3": (Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=4), {"rms_norm": 13, "rope": 2}),
}


def pair(config, dtype=torch.float32):
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if "norm" in name:  # as they are made, they are all ones or zeros
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return plain, copy.deepcopy(plain)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_served_model_gives_the_same_loss_and_gradients(family: str) -> None:
    config, served = CONFIGS[family]
    plain, fused = pair(config)
    assert fuse(fused) == served
    ids = torch.randint(0, 64, (2, 11), generator=torch.Generator().manual_seed(1))
    for model in (plain, fused):
        model(input_ids=ids, labels=ids).loss.backward()
    for (name, one), other in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    with torch.no_grad():
        torch.testing.assert_close(fused(input_ids=ids).logits, plain(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


def test_it_generates_the_same_text() -> None:
    plain, fused = pair(CONFIGS["llama"][0])
    fuse(fused)
    ids = torch.randint(0, 64, (1, 5), generator=torch.Generator().manual_seed(1))
    texts = [model.eval().generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0) for model in (plain, fused)]
    assert torch.equal(*texts)


def test_names_and_classes_stay() -> None:
    plain, fused = pair(CONFIGS["llama"][0])
    fuse(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    for one, other in zip(plain.modules(), fused.modules(), strict=True):
        assert isinstance(other, type(one))
        assert type(other).__name__ == type(one).__name__
    again, _ = pair(CONFIGS["llama"][0])
    assert type(again.model.norm) is type(plain.model.norm)  # transformers' own classes are untouched


def test_other_code_is_left_alone() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2))
    assert not fuse(model)
    config = LlamaConfig(**SIZES, hidden_act="gelu")
    assert "swiglu" not in fuse(AutoModelForCausalLM.from_config(config))


def test_a_changed_forward_is_not_served() -> None:
    _, model = pair(CONFIGS["llama"][0])

    class Louder(type(model.model.norm)):
        def forward(self, hidden_states):
            return super().forward(hidden_states) * 2

    model.model.norm.__class__ = Louder
    assert fuse(model)["rms_norm"] == 4


def test_weights_of_another_dtype_go_the_plain_way() -> None:
    plain, fused = pair(CONFIGS["llama"][0], torch.bfloat16)
    fuse(fused)
    for model in (plain, fused):
        model.model.norm.float()
    ids = torch.randint(0, 64, (1, 7), generator=torch.Generator().manual_seed(1))
    hidden = [model.model(input_ids=ids).last_hidden_state for model in (plain, fused)]
    assert hidden[0].dtype == hidden[1].dtype == torch.float32


def test_the_reference_is_asked_for_by_name(monkeypatch) -> None:
    from fastft.models import _fused

    monkeypatch.setattr(_fused, "has_kernel", lambda op, key: False)
    _, model = pair(CONFIGS["llama"][0])
    assert not fuse(model)
