"""Models are read as asked for, and what was trained comes back as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from fastft import models
from fastft.config.schema import ModelConfig
from fastft.core.errors import ModelError, UnsupportedError
from fastft.methods.full import Full
from fastft.methods.lora import LoRA
from fastft.models.precision import autocast, choose_dtype
from fastft.stages._causal import CausalObjective

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("load") / "model")


def load(folder, dtype=torch.float32, **given):
    return models.load(ModelConfig(path=str(folder), **given), device=CPU, dtype=dtype)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_model_is_read_in_the_type_asked_for(folder):
    assert load(folder).model.dtype == torch.float32
    assert load(folder, torch.bfloat16).model.dtype == torch.bfloat16


def test_auto_is_float32_on_the_cpu():
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize("name", ["sdpa", "eager", "varlen"])
def test_the_attention_asked_for_is_the_one_set(folder, name):
    assert load(folder, attention=name).attention == name


def test_recompute_runs_layers_twice_and_changes_no_gradient(folder):
    gradients, calls = [], []
    for recompute in ("none", "full"):
        loaded = load(folder, recompute=recompute)
        method = LoRA(rank=4)
        torch.manual_seed(0)
        model = method.attach(loaded.model)
        count = []
        loaded.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        objective = CausalObjective(model)
        batch = tiny.batch(tiny.documents([9, 14]))
        objective.loss(model, batch)  # the self test's own passes are over
        count.clear()
        objective.loss(model, batch).total.backward()
        calls.append(len(count))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    assert calls == [1, 2]
    torch.testing.assert_close(*gradients)


def test_recompute_is_refused_where_the_model_has_none(folder, monkeypatch):
    monkeypatch.setattr("transformers.LlamaForCausalLM.supports_gradient_checkpointing", False)
    with pytest.raises(UnsupportedError, match="recompute"):
        load(folder, recompute="full")


def test_a_tokenizer_larger_than_the_model_is_told(tmp_path):
    tiny.folder(tmp_path, vocab_size=100)
    with pytest.raises(ModelError, match="259 ids and the model 100 embeddings"):
        load(tmp_path)


def test_a_damaged_weight_file_is_told(tmp_path):
    tiny.folder(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match="can't be read"):
        load(tmp_path)


def test_full_computes_in_bfloat16_and_holds_float32(folder):
    model = Full().attach(load(folder, torch.bfloat16).model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with autocast(model):
        assert torch.is_autocast_enabled("cpu")
    with autocast(load(folder).model):
        assert not torch.is_autocast_enabled("cpu")


def test_an_adapter_comes_back_bit_for_bit_and_writes_the_same_bytes(folder, tmp_path):
    loaded = load(folder)
    method = LoRA(rank=4, targets=["v_proj", "q_proj"])
    model = method.attach(loaded.model)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    models.save_trained(model, method, tmp_path / "a", tokenizer=loaded.tokenizer)
    back = models.load_trained(load(folder).model, tmp_path / "a")
    mine = {n: p for n, p in model.named_parameters() if "lora" in n}
    assert len(mine) == 8
    assert all(torch.equal(p, dict(back.named_parameters())[n]) for n, p in mine.items())
    models.save_trained(back, method, tmp_path / "b", tokenizer=loaded.tokenizer)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    config = (tmp_path / "a" / "adapter_config.json").read_text()
    assert f'"base_model_name_or_path": "{folder}"' in config
    assert '"target_modules": [\n    "q_proj",\n    "v_proj"\n  ]' in config


def test_plain_peft_reads_the_adapter(folder, tmp_path):
    loaded = load(folder)
    method = LoRA(rank=4)
    model = method.attach(loaded.model)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    models.save_trained(model, method, tmp_path)
    model.eval()
    ids = [[5, 6, 7, 8]]
    loaded.model.set_attn_implementation("sdpa")
    ours = model(input_ids=torch.tensor(ids)).logits[0, -1, :4].tolist()
    code = (
        "import sys, torch\nfrom peft import AutoPeftModelForCausalLM\n"
        f"m = AutoPeftModelForCausalLM.from_pretrained({str(tmp_path)!r}, dtype=torch.float32)\n"
        f"print(*m(input_ids=torch.tensor({ids})).logits[0, -1, :4].tolist())\nassert 'fastft' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [float(x) for x in done.stdout.split()] == pytest.approx(ours, abs=1e-5)


def test_a_whole_model_comes_back_bit_for_bit(folder, tmp_path):
    loaded = load(folder)
    method = Full()
    model = method.attach(loaded.model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.01)
    models.save_trained(model, method, tmp_path, tokenizer=loaded.tokenizer)
    back = models.load_trained(load(folder).model, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), back.parameters(), strict=True))
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.use_cache


def test_a_model_trained_under_bfloat16_is_stored_in_bfloat16_once(folder, tmp_path):
    method = Full()
    model = method.attach(load(folder, torch.bfloat16).model)
    models.save_trained(model, method, tmp_path)
    back = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert back.dtype == torch.bfloat16
    assert back.lm_head.weight is back.model.embed_tokens.weight
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 2.1 * sum(p.numel() for p in back.parameters())


def test_an_adapter_of_another_model_is_told(folder, tmp_path):
    method = LoRA(rank=4)
    models.save_trained(method.attach(load(folder).model), method, tmp_path)
    other = tiny.model(hidden_size=32, intermediate_size=48, head_dim=8)
    with pytest.raises(ModelError, match="does not fit") as caught:
        models.load_trained(other, tmp_path)
    assert str(folder) in caught.value.hint
