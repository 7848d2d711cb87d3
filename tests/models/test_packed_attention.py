"""Packed documents do not see one another, whatever the architecture."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor

from fastft.core.errors import ModelError, UnsupportedError
from fastft.models import attention

GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
SLIDING = {"sliding_window": 4}
GEMMA3 = {**SLIDING, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 16}
KINDS = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": SLIDING,
    "gemma3_text": GEMMA3,
    "gpt2": GPT2,
    "phi3": {},
}


def packed_logits(model, docs: list[Tensor]) -> Tensor:
    lengths = [doc.shape[1] for doc in docs]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    given = attention.packed_inputs(model, positions, bounds, max(lengths))
    with torch.no_grad():
        return model(input_ids=torch.cat(docs, 1), **given).logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("implementation", ["varlen", "sdpa"])
def test_packed_logits_equal_those_of_each_document_alone(kind, implementation):
    model = tiny.model(kind, **KINDS[kind]).eval()
    model.set_attn_implementation("eager")
    docs = [torch.tensor([ids]) for ids, _ in tiny.documents([13, 1, 22, 9])]
    with torch.no_grad():
        alone = torch.cat([model(input_ids=doc, use_cache=False).logits for doc in docs], dim=1)
    assert attention.choose(model, implementation, packed=True) == implementation
    torch.testing.assert_close(packed_logits(model, docs), alone, atol=1e-4, rtol=0)


def test_auto_takes_varlen_and_builds_no_mask():
    model = tiny.model()
    assert attention.choose(model, "auto", packed=True) == "varlen"
    given = attention.packed_inputs(model, torch.arange(50)[None], torch.tensor([0, 50], dtype=torch.int32), 50)
    assert given["attention_mask"].numel() == 1


def test_a_model_that_soft_caps_scores_keeps_eager():
    model = tiny.model("gemma2", query_pre_attn_scalar=16, **SLIDING)
    assert attention.choose(model, "auto", packed=True) == "eager"


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_packing_is_refused_where_documents_leak(kind):
    changes = {"bloom": {"n_layer": 2, "n_head": 4}, "mamba": {"state_size": 8}}[kind]
    model = tiny.model(kind, **changes)
    with pytest.raises(UnsupportedError, match="does not keep packed documents apart") as caught:
        attention.choose(model, "auto", packed=True)
    assert 'data.packing = "none"' in caught.value.hint
    assert attention.choose(model, "auto", packed=False) in ("sdpa", "eager")


def test_flex_is_refused_on_the_cpu():
    with pytest.raises(UnsupportedError, match="CUDA"):
        attention.choose(tiny.model(), "flex", packed=True)


def test_a_leak_is_seen():
    """Plain causal attention over both documents, as a model that ignores position_ids would do."""
    model = tiny.model()
    model.set_attn_implementation("sdpa")
    assert attention.leak(model) is None
    forward = attention.packed_inputs
    try:
        attention.packed_inputs = lambda *_: {"use_cache": False}  # what such a model would see
        assert "changes its neighbour" in attention.leak(model)
    finally:
        attention.packed_inputs = forward


def test_generation_with_varlen_is_that_of_sdpa():
    model = tiny.model().eval()
    ids = torch.tensor([tiny.documents([9])[0][0]])
    answers = []
    for name in ("varlen", "sdpa"):
        attention.choose(model, name, packed=True)
        answers.append(model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False))
    assert torch.equal(*answers)


def test_gradients_through_varlen_are_those_of_sdpa():
    gradients = []
    for name in ("varlen", "sdpa"):
        model = tiny.model("mistral", **SLIDING)
        attention.choose(model, name, packed=True)
        docs = [torch.tensor([ids]) for ids, _ in tiny.documents([13, 22])]
        positions = torch.cat([torch.arange(13), torch.arange(22)])[None]
        given = attention.packed_inputs(model, positions, torch.tensor([0, 13, 35], dtype=torch.int32), 22)
        model(input_ids=torch.cat(docs, 1), **given).logits.pow(2).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_weights_that_are_not_finite_are_not_taken_for_a_leak():
    model = tiny.model()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        attention.choose(model, "auto", packed=True)
