"""`attention = "s2"`: groups while training, full attention otherwise, refused where it would be something else."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor

from fastft.core.errors import UnsupportedError
from fastft.models import _s2, attention

LENGTHS = [29, 7, 40, 9]
GROUP = 8


def packed(model, lengths: list[int] = LENGTHS) -> Tensor:
    """Logits of documents laid end to end."""
    batch = tiny.batch(tiny.documents(lengths))
    given = attention.packed_inputs(model, batch.position_ids, batch.cu_seqlens, batch.max_seqlen)
    return model(input_ids=batch.input_ids, **given).logits[0]


def with_s2(kind: str = "llama", group: int = GROUP, **changes):
    model = tiny.model(kind, **changes)
    assert attention.choose(model, "s2", packed=True, s2_group=group) == "s2"
    return model.train()


def with_mask(model, lengths: list[int], heads: int) -> Tensor:
    """The same model by transformers' eager attention and the mask of each head, from the definition."""
    document = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    position = torch.cat([torch.arange(n) for n in lengths])
    whole = torch.tensor(lengths)[document] <= GROUP
    causal = (document[:, None] == document[None]) & (position[:, None] >= position[None])
    masks = []
    for head in range(heads):
        shift = GROUP // 2 if head >= heads // 2 else 0
        block = torch.where(whole, 0, (position + shift) // GROUP)
        masks.append(torch.where(causal & (block[:, None] == block[None]), 0.0, -torch.inf))
    model.set_attn_implementation("eager")
    batch = tiny.batch(tiny.documents(lengths))
    return model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=torch.stack(masks)[None],
        use_cache=False,
    ).logits[0]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral", "phi3"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (6, 3), (4, 1)])
def test_while_training_each_layer_attends_as_the_definition_says(kind, heads, kv_heads) -> None:
    changes = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_size": 16 * heads}
    if kind == "mistral":
        changes["sliding_window"] = None
    model = with_s2(kind, **changes)
    with torch.no_grad():
        torch.testing.assert_close(packed(model), with_mask(model, LENGTHS, heads), atol=2e-5, rtol=0)


def test_gradients_are_those_of_the_definition() -> None:
    gradients = []
    for forward in (lambda m: packed(m), lambda m: with_mask(m, LENGTHS, 4)):
        model = with_s2()
        forward(model).pow(2).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_out_of_training_it_is_full_attention() -> None:
    model = with_s2()
    with torch.no_grad():
        grouped = packed(model)
        full = packed(model.eval())
        assert attention.choose(model, "varlen", packed=True) == "varlen"
        assert torch.equal(full, packed(model))
        assert torch.equal(full, packed(model.train()))
    assert not torch.allclose(full, grouped, atol=1e-3)
    torch.testing.assert_close(full[: GROUP // 2], grouped[: GROUP // 2])  # no further back is anything hidden
    torch.testing.assert_close(full[29:36], grouped[29:36])  # a document that is shorter than a group


def test_the_size_of_the_groups_matters() -> None:
    with torch.no_grad():
        assert not torch.allclose(packed(with_s2(group=8)), packed(with_s2(group=12)), atol=1e-3)


def test_generation_is_that_of_full_attention() -> None:
    ids = torch.tensor([tiny.documents([30])[0][0]])
    answers = []
    for name in ("s2", "varlen"):
        model = tiny.model()
        attention.choose(model, name, packed=True, s2_group=GROUP)
        model.eval()
        answers.append(model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False))
    assert torch.equal(*answers)


def test_recomputed_layers_attend_in_groups_again() -> None:
    gradients = []
    for recompute in (False, True):
        model = with_s2()
        if recompute:
            model.activation_checkpointing_enable({"use_reentrant": False})
        packed(model).pow(2).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.equal(*gradients)


def test_the_proof_is_made_with_groups_and_sees_a_leak(monkeypatch) -> None:
    seen = []
    attend = _s2.s2_attention
    monkeypatch.setattr(_s2, "s2_attention", lambda *x, **how: (seen.append(how["group"]), attend(*x, **how))[1])
    model = with_s2()
    assert set(seen) == {attention._PROOF_GROUP}
    assert attention.leak(model) is None
    monkeypatch.setattr(_s2, "s2_attention", lambda *x, cu_seqlens, **how: attend(*x, **how))  # one long document
    assert "changes its neighbour" in attention.leak(model)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 4}, "sliding window"),
        ("gemma2", {"query_pre_attn_scalar": 16, "sliding_window": 4}, "soft-caps its scores"),
        ("gemma3_text", {"sliding_window": 4, "query_pre_attn_scalar": 16}, "sliding window"),
        ("llama", {"attention_dropout": 0.1}, "drops attention weights (`attention_dropout`)"),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}, "`attn_pdrop`"),
        ("bloom", {"n_layer": 2, "n_head": 4}, "its attention can't be chosen"),
        ("mamba", {"state_size": 8}, ""),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_model_that_can_not_attend_in_groups_is_refused(kind, changes, reason, together) -> None:
    model = tiny.model(kind, **changes)
    with pytest.raises(UnsupportedError, match="can't train with S2 attention") as caught:
        attention.choose(model, "s2", packed=together, s2_group=GROUP)
    assert reason in caught.value.message
    assert 'attention = "auto"' in caught.value.hint


def test_a_call_that_groups_can_not_serve_is_an_error_and_not_something_else() -> None:
    model = with_s2()
    layer = model.model.layers[0].self_attn
    q, k, v = torch.ones(1, 4, 6, 16), torch.ones(1, 2, 6, 16), torch.ones(1, 2, 6, 16)
    cu = torch.tensor([0, 6], dtype=torch.int32)
    with pytest.raises(ValueError, match="documents laid end to end"):
        _s2.shifted_attention(layer, q, k, v, None, group=4)
    for what in ({"dropout": 0.1}, {"sliding_window": 3}, {"softcap": 30.0}):
        with pytest.raises(ValueError, match="S2 attention has no"):
            _s2.shifted_attention(layer, q, k, v, None, group=4, cu_seqlens=cu, **what)


def test_what_is_saved_does_not_ask_for_groups(tmp_path) -> None:
    with_s2().save_pretrained(tmp_path)
    assert "s2" not in (tmp_path / "config.json").read_text()
