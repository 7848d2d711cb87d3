"""The objective is cross entropy of the targets, for every head, and falls back where it would not be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch
from torch.nn import functional as F

from fastft.core.errors import ModelError
from fastft.methods.full import Full
from fastft.methods.lora import LoRA
from fastft.models import attention
from fastft.stages import _causal
from fastft.stages._causal import CausalObjective
from fastft.stages.pretrain import Pretrain
from fastft.stages.sft import SFT

HEADS = {
    "llama": {},
    "gemma2": {"query_pre_attn_scalar": 16, "final_logit_softcapping": 3.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
    | dict.fromkeys(["embd_pdrop", "resid_pdrop", "attn_pdrop"], 0.0),
    "phi": {},  # its head has a bias
}


def one_by_one(model, docs):
    """The definition: each document alone, full logits."""
    total = torch.zeros(())
    for ids, targets in docs:
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        total = total + F.cross_entropy(logits, torch.tensor(targets), ignore_index=-100, reduction="sum")
    return total


def made(kind="llama", **changes):
    model = tiny.model(kind, **{**HEADS.get(kind, {}), **changes})
    attention.choose(model, "auto", packed=True)
    return model


@pytest.mark.parametrize("kind", HEADS)
def test_the_sum_is_that_of_each_document_alone_by_the_models_own_logits(kind):
    model = Full().attach(made(kind))
    docs = tiny.documents([12, 31, 7])
    objective = CausalObjective(model)
    loss = objective.loss(model, tiny.batch(docs))
    assert objective._chunked
    assert loss.weight == sum(t != -100 for _, ts in docs for t in ts)
    expected = one_by_one(model, docs)
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-4)
    ours = torch.autograd.grad(loss.total, list(model.parameters()), allow_unused=True)
    theirs = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()) + 1e-7)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("chunked", [True, False])
def test_weighted_targets_count_by_their_weight_and_the_divisor_is_their_sum(kind, chunked):
    model = Full().attach(made(kind))
    docs = tiny.documents([12, 31, 7])
    plain = tiny.batch(docs)
    weights = (torch.rand(plain.targets.shape, generator=torch.Generator().manual_seed(0)) * 2).where(
        plain.targets != -100, torch.zeros(())
    )
    objective = CausalObjective(model)
    objective._chunked = chunked
    loss = objective.loss(model, replace(plain, weights=weights))
    assert loss.weight == pytest.approx(float(weights.sum()))
    expected, at = torch.zeros(()), 0
    for ids, targets in docs:
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        each = F.cross_entropy(logits, torch.tensor(targets), ignore_index=-100, reduction="none")
        expected = expected + (each * weights[0, at : at + len(ids)]).sum()
        at += len(ids)
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-4)
    assert (loss.total - objective.loss(model, plain).total).abs() > 1e-3


def test_the_self_test_sees_the_weights_of_its_slice():
    batch = tiny.batch(tiny.documents([12, 31, 7]))
    weights = torch.full(batch.targets.shape, 0.25)
    piece = _causal._slice(replace(batch, weights=weights), 20)
    assert piece.weights is not None
    assert piece.weights.shape == piece.targets.shape


def test_layouts_of_accumulation_give_one_gradient():
    """1 x 8, 2 x 4, 4 x 2, 8 x 1 documents, and a ragged last window: sums, so layout does not matter."""
    docs = tiny.documents([5, 30, 12, 9, 21, 8, 14, 3])
    found = []
    for size in (8, 4, 3, 2, 1):
        model = LoRA(rank=4).attach(made())
        torch.manual_seed(3)
        for name, p in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.1)
        for name, p in sorted(model.named_parameters()):
            if "lora_A" in name:
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        objective = CausalObjective(model)
        weight = sum(t != -100 for _, ts in docs for t in ts)
        for start in range(0, 8, size):
            (objective.loss(model, tiny.batch(docs[start : start + size])).total / weight).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=0)


def test_a_head_with_a_twist_falls_back_with_one_warning(monkeypatch):
    monkeypatch.setattr(_causal, "logit_transform", lambda config: (1.0, 0.0))
    model = made("cohere")
    docs = tiny.documents([12, 31])
    objective = CausalObjective(model)
    with pytest.warns(UserWarning, match="its own are used") as caught:
        losses = [objective.loss(model, tiny.batch(docs)).total for _ in range(2)]
    assert len(caught) == 1
    torch.testing.assert_close(losses[1], one_by_one(model, docs), rtol=1e-5, atol=1e-4)


def test_a_batch_without_targets_weighs_nothing():
    model = made()
    ids = tiny.documents([9])[0][0]
    loss = CausalObjective(model).loss(model, tiny.batch([(ids, [-100] * 9)]))
    assert (float(loss.total.detach()), loss.weight) == (0.0, 0)


def test_the_self_test_leaves_no_trace():
    model = LoRA(rank=4, dropout=0.1).attach(made())
    objective = CausalObjective(model)
    assert model.training
    objective.loss(model, tiny.batch(tiny.documents([12])))
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_model_without_a_head_is_refused():
    with pytest.raises(ModelError, match="no linear output head"):
        CausalObjective(made().model)


@pytest.mark.parametrize(
    ("loss_on", "words"), [("response", "responses"), ("last_response", "last_response"), ("all", "all")]
)
def test_sft_says_what_is_trained(loss_on, words):
    assert SFT(loss_on=loss_on).train_on() == words


def test_pretrain_reads_text_and_trains_all_of_it():
    assert (Pretrain.rows, Pretrain().train_on(), SFT.rows) == ("text", "all", "conversation")


def test_conversations_are_not_split():
    run = SimpleNamespace(data=SimpleNamespace(truncate="split"))
    (problem,) = SFT().conflicts(run)
    assert problem.key == "data.truncate"
    assert not list(Pretrain().conflicts(run))


@pytest.mark.parametrize("stage", [SFT(), Pretrain()])
def test_both_stages_take_the_same_loss(stage):
    model = made()
    objective = stage.objective(SimpleNamespace(model=model))
    docs = tiny.documents([12, 5])
    torch.testing.assert_close(
        objective.loss(model, tiny.batch(docs)).total, one_by_one(model, docs), rtol=1e-5, atol=1e-4
    )
