"""The tokenizer's files are the live object's, and are read back without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tiny

from fastft.config.schema import ModelConfig
from fastft.core.errors import ModelError
from fastft.models import load_tokenizer, tokenizer_files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("tokenizer") / "model")


def test_the_files_say_what_the_tokenizer_says(model):
    files = tokenizer_files(ModelConfig(path=str(model)))
    live = load_tokenizer(model)
    written = json.loads((files.folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert written["model"] == json.loads(live.backend_tokenizer.to_str())["model"]
    assert files.chat_template == tiny.TEMPLATE
    assert files.special_tokens["eos_token"] == "<|im_end|>"
    assert (files.bos_id, files.eos_id, files.pad_id, files.vocab_size) == (1, 2, 2, 259)


def test_the_second_call_needs_neither_torch_nor_transformers(model):
    first = tokenizer_files(ModelConfig(path=str(model)))
    code = (
        "import sys; from fastft.config.schema import ModelConfig; from fastft.models.tokenizer import tokenizer_files\n"
        f"files = tokenizer_files(ModelConfig(path={str(model)!r}))\n"
        "print(files.key, {'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [first.key, "set()"]


def test_another_template_is_another_key(model, tmp_path):
    first = tokenizer_files(ModelConfig(path=str(model)))
    other = tiny.folder(tmp_path / "other")
    (other / "chat_template.jinja").write_text(tiny.TEMPLATE + "!")
    second = tokenizer_files(ModelConfig(path=str(other)))
    assert second.key != first.key
    assert second.chat_template.endswith("!")


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    tiny.model().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer"):
        tokenizer_files(ModelConfig(path=str(tmp_path)))
