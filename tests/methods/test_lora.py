"""Every option of LoRA does what it says, and the fused layers are PEFT's."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError

from fastft.core.errors import ModelError
from fastft.methods._fused_lora import FusedLinear
from fastft.methods.lora import LoRA


def fused(model):
    return [m for m in model.modules() if isinstance(m, FusedLinear)]


def randomise(model):
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)


def test_only_the_adapter_is_trainable_and_it_is_float32():
    model = LoRA(rank=4).attach(tiny.model().to(torch.bfloat16))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in trained.items())


def test_rank_and_alpha_set_width_and_scale():
    layer = fused(LoRA(rank=4, alpha=12).attach(tiny.model()))[0]
    assert layer.lora_A["default"].weight.shape[0] == 4
    assert layer.scaling["default"] == 3.0


def test_rslora_divides_by_the_root_of_the_rank():
    layer = fused(LoRA(rank=4, alpha=12, rslora=True).attach(tiny.model()))[0]
    assert layer.scaling["default"] == 6.0


def test_all_linear_adapts_every_layer_but_the_head():
    model = LoRA(rank=4).attach(tiny.model())
    assert len(fused(model)) == 2 * 7
    assert not isinstance(model.get_base_model().lm_head, FusedLinear)


def test_targets_names_the_layers():
    model = LoRA(rank=4, targets=["q_proj", "up_proj"]).attach(tiny.model())
    assert len(fused(model)) == 2 * 2


def test_a_misspelt_target_is_told():
    with pytest.raises(ModelError, match="no layer called `q_porj`") as caught:
        LoRA(targets=["v_proj", "q_porj"]).attach(tiny.model())
    assert caught.value.hint == "did you mean `q_proj`?"


def test_a_word_that_is_no_target_is_one_error():
    with pytest.raises(ValidationError) as caught:
        LoRA(targets="q_proj")
    assert len(caught.value.errors()) == 1


def test_dropout_drops_while_training_only():
    model = LoRA(rank=4, dropout=0.5).attach(tiny.model())
    randomise(model)
    ids = torch.tensor([tiny.documents([20])[0][0]])
    model.train()
    torch.manual_seed(0)
    first, second = model(input_ids=ids).logits, model(input_ids=ids).logits
    assert not torch.allclose(first, second)
    model.eval()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_fused_layers_compute_what_peft_computes(kind):
    """qwen2 has biases on its projections."""
    base = tiny.model(kind)
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        plain = get_peft_model(copy.deepcopy(base), config)
    ours = LoRA(rank=4).attach(base)
    randomise(ours)
    plain.load_state_dict(ours.state_dict())
    assert not fused(plain)
    ids = torch.tensor([tiny.documents([20])[0][0]])
    results = []
    for model in (ours, plain):
        logits = model(input_ids=ids).logits
        logits.pow(2).mean().backward()
        results.append((logits, {n: p.grad for n, p in model.named_parameters() if p.requires_grad}))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=1e-5, rtol=1e-3, msg=name)


def test_the_adapter_can_be_switched_off():
    base = tiny.model()
    ids = torch.tensor([tiny.documents([20])[0][0]])
    before = base(input_ids=ids).logits
    model = LoRA(rank=4).attach(base)
    randomise(model)
    assert not torch.allclose(model(input_ids=ids).logits, before)
    with model.disable_adapter():
        assert torch.equal(model(input_ids=ids).logits, before)


def test_the_output_head_is_refused_by_its_name():
    with pytest.raises(ModelError, match="`lm_head` is the output head"):
        LoRA(rank=4, targets=["q_proj", "lm_head"]).attach(tiny.model())
