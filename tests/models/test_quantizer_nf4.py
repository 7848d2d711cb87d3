"""A base held in NF4: what is replaced, what it computes, and that LoRA trains on it."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fastft.config.schema import ModelConfig
from fastft.core.errors import UnsupportedError
from fastft.methods.lora import LoRA
from fastft.models.load import load
from fastft.models.quantizers._nf4_linear import NF4Linear
from fastft.models.quantizers.nf4 import NF4
from fastft.ops import nf4_dequantize


def tiny_llama(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        attention_bias=True,
    )
    return LlamaForCausalLM(config).to(dtype)


def held(model: nn.Module) -> int:
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return sum(t.nbytes for m in layers for t in [*m.parameters(), *m.buffers()])


def dequantized(model: nn.Module) -> nn.Module:
    """The same model with plain linear layers that hold the dequantized weights."""
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_modules()):
        if isinstance(module, NF4Linear):
            linear = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
            linear.weight = nn.Parameter(nf4_dequantize(module.quantized(), torch.float32))
            linear.bias = module.bias
            plain.set_submodule(name, linear)
    return plain


IDS = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(1))


def test_the_layers_of_the_blocks_are_replaced_and_the_head_and_embeddings_stay() -> None:
    model = NF4().quantize(tiny_llama())
    replaced = [name for name, module in model.named_modules() if isinstance(module, NF4Linear)]
    assert len(replaced) == 2 * 7
    assert type(model.lm_head) is nn.Linear
    assert type(model.model.embed_tokens) is nn.Embedding
    assert not any(p.requires_grad for m in model.modules() if isinstance(m, NF4Linear) for p in m.parameters())


def test_the_output_equals_that_of_the_dequantized_model() -> None:
    model = NF4().quantize(tiny_llama())
    torch.testing.assert_close(model(IDS).logits, dequantized(model)(IDS).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_layer_equals_linear4bit_of_bitsandbytes(dtype: torch.dtype) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    linear = nn.Linear(128, 96).to(dtype)
    theirs = bnb.nn.Linear4bit(128, 96, quant_type="nf4", compress_statistics=False, compute_dtype=dtype)
    theirs.weight = bnb.nn.Params4bit(
        linear.weight.data.clone(), requires_grad=False, quant_type="nf4", compress_statistics=False
    )
    theirs.bias = nn.Parameter(linear.bias.data.clone())
    theirs = theirs.to("cpu")
    x = torch.randn(5, 128).to(dtype)
    ours = NF4Linear.of(linear, double_quant=False)
    assert torch.equal(ours.weight.view(-1), theirs.weight.view(-1))
    weight = nf4_dequantize(ours.quantized(), torch.float32).double()
    truth = nn.functional.linear(x.double(), weight, linear.bias.double())
    # In bfloat16 theirs rounds the dequantized weight too, ours does not.
    assert (ours(x) - truth).norm() <= (theirs(x) - truth).norm() + 1e-6 * truth.norm()


def test_the_options_change_what_is_held() -> None:
    sizes = [
        held(NF4(**options).quantize(tiny_llama())) for options in ({}, {"double_quant": False}, {"blocksize": 256})
    ]
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[0]
    blocks = sum(m.weight.numel() * 4 for m in tiny_llama().model.layers.modules() if isinstance(m, nn.Linear))
    model = NF4().quantize(tiny_llama())
    packed = sum(m.quantized().nbytes for m in model.modules() if isinstance(m, NF4Linear))
    assert packed < blocks / 7.5


def test_lora_on_top_trains_the_adapter_alone_and_the_loss_falls() -> None:
    base = NF4().quantize(tiny_llama())
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = LoRA(rank=4).attach(base)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert all(p.dtype == torch.float32 for p in trained)
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(12):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    after = model.unload().state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_gradients_of_the_adapter_are_those_over_the_dequantized_base() -> None:
    base = NF4().quantize(tiny_llama())
    grads = []
    for model in (base, dequantized(base)):
        wrapped = LoRA(rank=4).attach(model)
        torch.manual_seed(3)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.1)
        wrapped(input_ids=IDS, labels=IDS).loss.backward()
        grads.append([p.grad for p in wrapped.parameters() if p.requires_grad])
    for left, right in zip(*grads, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_nothing_but_the_packed_weight_is_kept_for_the_backward_pass() -> None:
    layer = NF4Linear.of(nn.Linear(64, 64))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(torch.randn(8, 64, requires_grad=True))
    assert saved == []


def test_casting_the_model_leaves_the_scales_exact() -> None:
    model = NF4().quantize(tiny_llama(torch.bfloat16))
    layer = model.model.layers[0].mlp.up_proj
    before = nf4_dequantize(layer.quantized(), torch.float32)
    model.to(torch.bfloat16).half()
    assert layer.nested.dtype == torch.float32
    assert layer.bias is None
    assert model.model.layers[0].self_attn.q_proj.bias.dtype == torch.float16
    assert torch.equal(nf4_dequantize(layer.quantized(), torch.float32), before)


def test_a_state_dict_has_the_keys_of_bitsandbytes_and_loads_again() -> None:
    model = NF4().quantize(tiny_llama())
    state = model.state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    assert {key for key in state if key.startswith(name)} == {
        name,
        f"{name}.absmax",
        f"{name}.quant_map",
        f"{name}.nested_absmax",
        f"{name}.nested_quant_map",
        f"{name}.quant_state.bitsandbytes__nf4",
    }
    torch.manual_seed(9)
    other = tiny_llama()
    for parameter in other.parameters():
        parameter.data.normal_()
    other = NF4(blocksize=128).quantize(other)
    for key, module in other.named_modules():
        if isinstance(module, NF4Linear):
            own = {k.removeprefix(f"{key}."): v for k, v in state.items() if k.startswith(f"{key}.")}
            module.load_state_dict(own)
            assert torch.equal(nf4_dequantize(module.quantized()), nf4_dequantize(model.get_submodule(key).quantized()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_are_quantized_while_they_are_read(tmp_path, monkeypatch, dtype: torch.dtype) -> None:
    folder = tiny.folder(tmp_path / "model", "qwen2")  # which has biases
    config = ModelConfig(path=str(folder), quantize={"kind": "nf4", "blocksize": 128})
    with monkeypatch.context() as patch:  # read whole, quantized afterwards, and then served by the same ops
        patch.setattr(NF4, "while_reading", lambda self: None)
        expected = load(config, device=torch.device("cpu"), dtype=dtype).model
    unread = []
    packed = NF4.packed

    def watched(self, weight, linear):
        unread.append(sum(p.is_meta for p in owner[0].parameters()))
        return packed(self, weight, linear)

    owner: list[nn.Module] = []
    layers = NF4.layers
    monkeypatch.setattr(NF4, "layers", lambda self, model: owner.append(model) or layers(self, model))
    monkeypatch.setattr(NF4, "packed", watched)
    model = load(config, device=torch.device("cpu"), dtype=dtype).model
    assert unread == sorted(unread, reverse=True)
    assert unread[0] > unread[-1] + 8  # most of the model was still in the file
    state, wanted = model.state_dict(), expected.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert not any(p.is_meta for p in model.parameters())
    assert not any(p.requires_grad for m in model.modules() if isinstance(m, NF4Linear) for p in m.parameters())
    assert not hasattr(model.config, "quantization_config")
    ids = torch.arange(3, 20)[None]
    assert torch.equal(model.eval()(ids).logits, expected.eval()(ids).logits)


def test_a_model_with_other_weights_is_refused_before_it_is_read(tmp_path) -> None:
    folder = tiny.folder(tmp_path / "model", "mixtral", num_local_experts=2, num_experts_per_tok=1)
    config = ModelConfig(path=str(folder), quantize={"kind": "nf4"})
    with pytest.raises(UnsupportedError, match="hold other weights"):
        load(config, device=torch.device("cpu"), dtype=torch.float32)


def test_a_token_at_a_time_needs_no_dequantized_weight_and_gives_the_same() -> None:
    model = NF4().quantize(tiny_llama()).eval()
    with torch.no_grad():
        one = model(IDS[:1, :1]).logits
        torch.testing.assert_close(one, dequantized(model)(IDS[:1, :1]).logits, rtol=1e-4, atol=1e-5)


def test_an_adapter_is_not_merged_into_four_bits() -> None:
    model = LoRA(rank=4).attach(NF4().quantize(tiny_llama()))
    with pytest.raises(UnsupportedError, match="not merged into an NF4 weight"):
        model.merge_and_unload()


def test_a_model_whose_blocks_hold_other_weights_is_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=32, n_layer=1, n_head=2, n_positions=16))
    with pytest.raises(
        UnsupportedError, match=r"hold other weights, for example `transformer\.h\.0\.attn\.c_attn\.weight`"
    ):
        NF4().quantize(model)
