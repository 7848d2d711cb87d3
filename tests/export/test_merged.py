"""A merged model is the adapted model, whole, or is not there at all."""

from __future__ import annotations

import json
import sys

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fastft import models
from fastft.config.schema import ModelConfig
from fastft.core.errors import ConfigError, ResourceError, VerificationError
from fastft.export import export_merged
from fastft.methods.full import Full
from fastft.methods.lora import LoRA
from fastft.models import save

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with an adapter, and the adapted model's logits on a prompt."""
    root = tmp_path_factory.mktemp("export")
    base = tiny.folder(root / "base")
    loaded = models.load(ModelConfig(path=str(base), attention="sdpa"), device=CPU, dtype=torch.float32)
    method = LoRA(rank=4)
    adapted = method.attach(loaded.model).eval()
    torch.manual_seed(0)
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.05)
    final = root / "run" / "final"
    final.mkdir(parents=True)
    (root / "run" / "run.json").write_text("{}")
    models.save_trained(adapted, method, final, tokenizer=loaded.tokenizer)
    with torch.no_grad():
        logits = adapted(input_ids=torch.tensor([[5, 6, 7, 8]])).logits
    return root / "run", logits


def plain_logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits.float()


def test_plain_transformers_reads_the_adapted_model(run, tmp_path):
    folder, logits = run
    exported = export_merged(folder, tmp_path / "out")
    torch.testing.assert_close(plain_logits(tmp_path / "out"), logits, atol=1e-4, rtol=0)
    assert exported.difference <= 1e-4
    assert exported.parameters == sum(p.numel() for p in tiny.model().parameters())
    assert exported.size_bytes == (tmp_path / "out" / "model.safetensors").stat().st_size
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == tiny.TEMPLATE
    assert not list((tmp_path / "out").glob("adapter*"))


def test_bfloat16_halves_the_files(run, tmp_path):
    folder, logits = run
    full = export_merged(folder, tmp_path / "full")
    half = export_merged(folder, tmp_path / "half", dtype="bfloat16")
    assert half.size_bytes < 0.6 * full.size_bytes
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half").dtype == torch.bfloat16
    torch.testing.assert_close(plain_logits(tmp_path / "half"), logits, atol=0.1 * float(logits.abs().max()), rtol=0)


def test_shards_have_a_complete_index(run, tmp_path):
    folder, logits = run
    export_merged(folder, tmp_path / "out", shard_size="100KB")
    files = list((tmp_path / "out").glob("model-*.safetensors"))
    assert len(files) > 1
    listed = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert {p.name for p in files} == set(listed.values())
    torch.testing.assert_close(plain_logits(tmp_path / "out"), logits, atol=1e-4, rtol=0)


def test_a_target_that_is_not_empty_is_refused_and_untouched(run, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_merged(run[0], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_a_wrong_merge_is_refused_and_leaves_nothing(run, tmp_path, monkeypatch):
    merge = sys.modules["fastft.models.merge"]

    def wrong(model, dtype):
        whole = model.merge_and_unload()
        with torch.no_grad():
            whole.model.layers[1].mlp.down_proj.weight[3, 5] += 0.5
        return whole

    monkeypatch.setattr(merge, "merged", wrong)
    with pytest.raises(VerificationError, match="differ") as caught:
        export_merged(run[0], tmp_path / "out")
    assert caught.value.exit_code == 8
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(run, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(save, "save_model", full)
    with pytest.raises(ResourceError, match=r"could not be written: .*No space left"):
        export_merged(run[0], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_tensor_that_is_written_wrong_is_refused(run, tmp_path, monkeypatch):
    whole = save.save_model

    def wrong(model, folder, **given):
        with torch.no_grad():
            model.model.norm.weight[0] += 1e-3
        whole(model, folder, **given)
        with torch.no_grad():
            model.model.norm.weight[0] -= 1e-3

    monkeypatch.setattr(save, "save_model", wrong)
    with pytest.raises(VerificationError, match=r"`model.norm.weight` was not written as it was merged"):
        export_merged(run[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_that_is_lost_is_refused(run, tmp_path, monkeypatch):
    whole = save.save_model

    def lossy(model, folder, **given):
        whole(model, folder, **given)
        index = folder / "model.safetensors.index.json"
        listed = json.loads(index.read_text())
        listed["weight_map"].popitem()
        index.write_text(json.dumps(listed))

    monkeypatch.setattr(save, "save_model", lossy)
    with pytest.raises(VerificationError, match="index lists"):
        export_merged(run[0], tmp_path / "out", shard_size="100KB")
    assert list(tmp_path.iterdir()) == []


def test_a_fully_trained_run_is_exported_as_it_is(run, tmp_path):
    base = run[0].parent / "base"
    loaded = models.load(ModelConfig(path=str(base), attention="sdpa"), device=CPU, dtype=torch.float32)
    method = Full()
    trained = method.attach(loaded.model)
    with torch.no_grad():
        trained.model.norm.weight.mul_(1.5)
    final = tmp_path / "run" / "final"
    final.mkdir(parents=True)
    models.save_trained(trained, method, final, tokenizer=loaded.tokenizer)
    exported = export_merged(tmp_path / "run", tmp_path / "out")
    assert exported.difference == 0.0
    assert not torch.allclose(plain_logits(tmp_path / "out"), plain_logits(base))
