"""Every option of LoRA does what it says, and the fused layers are PEFT's."""

from __future__ import annotations

import copy
import warnings
from collections import Counter

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from torch.utils._python_dispatch import TorchDispatchMode

from fastft.core.errors import ModelError
from fastft.methods._fused_lora import FusedLinear
from fastft.methods.lora import LoRA
from fastft.models.quantizers.nf4 import NF4


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


class Calls(TorchDispatchMode):
    """How often each op of ours ran."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.name()] += 1
        return func(*args, **(kwargs or {}))


def test_layers_that_share_their_input_are_computed_together_and_give_the_same():
    model = LoRA(rank=4).attach(tiny.model())
    randomise(model)
    ids = torch.tensor([tiny.documents([20])[0][0]])
    results = []
    for groups in (True, False):
        for layer in fused(model):
            layer.group = layer.group if groups else None
        with Calls() as calls:
            logits = model(input_ids=ids).logits
        # two layers of (q, k, v), o, (gate, up), down
        assert calls.counts["fastft::lora_linear"] == (2 * 4 if groups else 2 * 7)
        gradients = torch.autograd.grad(logits.square().mean(), [p for p in model.parameters() if p.requires_grad])
        results.append((logits.detach(), gradients))
    torch.testing.assert_close(results[0][0], results[1][0])
    for left, right in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-7)


def test_layers_that_turn_out_not_to_share_their_input_are_computed_alone():
    model = LoRA(rank=4).attach(tiny.model())
    attention = model.get_base_model().model.layers[0].self_attn
    xs = [torch.randn(3, 64) for _ in range(12)]
    wanted = [attention.q_proj.base_layer(x) for x in xs]
    with Calls() as calls:
        for x, y in zip(xs, wanted, strict=True):
            torch.testing.assert_close(attention.q_proj(x), y)  # B is 0
    assert attention.q_proj.group.x is None or len(attention.q_proj.group.waiting) == 2
    assert calls.counts["fastft::lora_linear"] == 12
    # After a few that nobody asked for, the others are no longer computed.
    assert attention.q_proj.group.misses < 7
    assert not attention.q_proj.group.waiting


def test_an_input_that_was_changed_in_place_is_another():
    model = LoRA(rank=4).attach(tiny.model())
    attention = model.get_base_model().model.layers[0].self_attn
    x = torch.randn(3, 64)
    attention.q_proj(x)
    x.mul_(2.0)
    torch.testing.assert_close(attention.k_proj(x), attention.k_proj.base_layer(x))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dora_trains_magnitudes_and_computes_what_peft_computes(dropout):
    base = tiny.model("qwen2")
    config = LoraConfig(r=4, lora_alpha=32, lora_dropout=dropout, target_modules="all-linear", use_dora=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own
        plain = get_peft_model(copy.deepcopy(base), config)
    ours = LoRA(rank=4, dora=True, dropout=dropout).attach(base)
    assert sum("magnitude" in name for name, p in ours.named_parameters() if p.requires_grad) == 2 * 7
    randomise(ours)
    plain.load_state_dict(ours.state_dict(), strict=False)
    ids = torch.tensor([tiny.documents([20])[0][0]])
    results = []
    for model in (ours, plain):
        torch.manual_seed(3)
        logits = model.train()(input_ids=ids).logits
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        grads = torch.autograd.grad(logits.square().mean(), list(trained.values()))
        results.append((logits, dict(zip(trained, grads, strict=True))))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-4, rtol=1e-4)
    assert results[0][1].keys() == results[1][1].keys()
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=1e-5, rtol=2e-3, msg=name)


@pytest.mark.parametrize("packed", [False, True])
def test_layers_compile_into_one_graph(packed):
    base = tiny.model()
    model = LoRA(rank=4).attach(NF4().quantize(base) if packed else base)
    randomise(model)
    mlp = model.get_base_model().model.layers[0].mlp
    x = torch.randn(3, 64, requires_grad=True)
    got = torch.compile(mlp, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(got, mlp(x))
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (got, mlp(x))))
