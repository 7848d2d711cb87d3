"""Twenty steps of ours against a plain torch + peft loop: the same losses and gradients.

The plain loop runs each document alone through full logits and `F.cross_entropy`, on layers
that PEFT made itself; ours packs them, keeps no logits and fuses the layers.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from fastft import models
from fastft.config.schema import ModelConfig
from fastft.methods.lora import LoRA
from fastft.optimizers.adamw import AdamW
from fastft.stages._causal import CausalObjective

pytestmark = pytest.mark.parity
STEPS = 20


def plain_steps(folder, batches, start, lr):
    """What a user would write; yields the loss and the gradients of each step."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own
        model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.load_state_dict(start, strict=False)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=lr, weight_decay=0.0)
    for documents in batches:
        weight = sum(t != -100 for _, targets in documents for t in targets)
        total = 0.0
        for ids, targets in documents:
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            loss = F.cross_entropy(logits, torch.tensor(targets), ignore_index=-100, reduction="sum") / weight
            loss.backward()
            total += loss.item()
        yield total, {n: p.grad.clone() for n, p in trained.items()}
        optimizer.step()
        optimizer.zero_grad()


def our_steps(model, batches, lr):
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimizer = AdamW(lr=lr).build(trained)
    objective = CausalObjective(model)
    for documents in batches:
        loss = objective.loss(model, tiny.batch(documents))
        (loss.total / loss.weight).backward()
        yield loss.total.item() / loss.weight, {n: p.grad.clone() for n, p in trained}
        optimizer.step()
        optimizer.zero_grad()


def compare(folder, batches, lr):
    config = ModelConfig(path=str(folder))
    loaded = models.load(config, device=torch.device("cpu"), dtype=torch.float32)
    torch.manual_seed(0)
    model = LoRA(rank=8, alpha=16).attach(loaded.model)
    start = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    steps = zip(our_steps(model, batches, lr), plain_steps(folder, batches, start, lr), strict=True)
    losses = []
    for step, ((our_loss, ours), (plain_loss, plain)) in enumerate(steps):
        assert our_loss == pytest.approx(plain_loss, abs=1e-5), f"loss of step {step}"
        assert ours.keys() == plain.keys()
        worst = max(float((ours[n] - plain[n]).abs().max()) for n in ours)
        assert worst <= 1e-5, f"gradient of step {step} differs by {worst:.1e}"
        losses.append(our_loss)
    assert losses[-1] < losses[0]


def test_a_tiny_model_takes_the_same_twenty_steps(tmp_path):
    folder = tiny.folder(tmp_path / "model", initializer_range=0.02)
    documents = [tiny.documents([5 + step % 4, 21, 13, 8], seed=step % 3) for step in range(STEPS)]
    compare(folder, documents, lr=1e-3)


@pytest.mark.slow
def test_four_layers_of_smollm2_take_the_same_twenty_steps():
    named = os.environ.get("FASTFT_SMOLLM2_4L")
    if not named or not Path(named).is_dir():
        pytest.skip("FASTFT_SMOLLM2_4L names no folder with four layers of SmolLM2")
    documents = [tiny.documents([14, 40, 25], seed=step % 3, vocabulary=49152) for step in range(STEPS)]
    compare(Path(named), documents, lr=1e-4)
