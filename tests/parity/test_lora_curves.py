"""Fifty steps of LoRA, QLoRA and DoRA beside PEFT's own layers: the same losses, the same adapters.

Both sides run the same transformers model and optimizer in float32 and differ in the layers only. For QLoRA the
other side is bitsandbytes' `Linear4bit`, which is given our packed weights by their state dict.
"""

from __future__ import annotations

import copy
import warnings

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from fastft.methods._fused_lora import FusedLinear
from fastft.methods.lora import LoRA
from fastft.models.merge import load_adapter, save_adapter
from fastft.models.quantizers._nf4_linear import NF4Linear
from fastft.models.quantizers.nf4 import NF4

pytestmark = pytest.mark.parity
STEPS = 50
MODELS = {
    "llama": {},
    "qwen2": {},
    "gemma3_text": {"sliding_window": 16},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def targets(model: nn.Module) -> list[str]:
    present = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return [name for name in TARGETS if name in present]


def plain_peft(model: nn.Module, **options) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own
        return get_peft_model(
            model, LoraConfig(r=8, lora_alpha=16, target_modules=targets(model), task_type="CAUSAL_LM", **options)
        )


def as_bitsandbytes(model: nn.Module) -> nn.Module:
    """A copy with `Linear4bit` layers that hold the bytes of our packed ones."""
    bnb = pytest.importorskip("bitsandbytes")
    other = copy.deepcopy(model)
    for name, module in list(other.named_modules()):
        if isinstance(module, NF4Linear):
            stats = module.quantized().state_dict()
            layer = bnb.nn.Linear4bit(
                module.in_features, module.out_features, bias=module.bias is not None, quant_type="nf4"
            )
            layer.weight = bnb.nn.Params4bit.from_prequantized(
                data=stats.pop(""), quantized_stats=stats, requires_grad=False, device="cpu"
            )
            layer.bias = module.bias
            other.set_submodule(name, layer)
    other.is_loaded_in_4bit = True
    return other


def losses(model: nn.Module) -> list[float]:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    curve = []
    for step in range(STEPS):
        g = torch.Generator().manual_seed(step % 4)
        ids = torch.randint(3, tiny.VOCABULARY, (2, 24), generator=g)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        curve.append(loss.item())
    return curve


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ["lora", "qlora", "dora", "qdora"])
def test_the_curve_is_that_of_peft(kind: str, method: str, tmp_path) -> None:
    base = tiny.model(kind, **MODELS[kind])
    packed = method.startswith("q")
    if packed and kind == "mixtral":
        pytest.skip("its experts are no linear layers; NF4 is refused for it")
    if packed:
        base = NF4().quantize(base)
    dora = method.endswith("dora")
    theirs = plain_peft(as_bitsandbytes(base) if packed else copy.deepcopy(base), use_dora=dora)
    ours = LoRA(rank=8, alpha=16, dora=dora, targets=targets(base)).attach(base)
    assert sum(isinstance(module, FusedLinear) for module in ours.modules()) >= 2 * 4
    start = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    own = {name: p for name, p in ours.named_parameters() if p.requires_grad}
    assert own.keys() == start.keys()
    for name, p in own.items():
        if dora and "magnitude" in name:  # made from the weight by each side
            torch.testing.assert_close(p, start[name], rtol=1e-5, atol=1e-6)
        p.data.copy_(start[name])
    curve, expected = losses(ours), losses(theirs)
    assert curve[-1] < curve[0] - 0.2
    assert curve == pytest.approx(expected, rel=2e-4)
    # The adapter's file is PEFT's: plain PEFT goes on from it where we stopped.
    save_adapter(ours, tmp_path)
    again = load_adapter(tiny.model(kind, **MODELS[kind]), tmp_path)
    ids = torch.arange(3, 30)[None]
    if not packed:
        ours.eval()
        torch.testing.assert_close(again.eval()(input_ids=ids).logits, ours(input_ids=ids).logits, rtol=1e-3, atol=1e-4)
