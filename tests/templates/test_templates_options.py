"""What each option of the encoder changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastft import _engine

TOKENIZER = (Path(__file__).parent / "fixtures" / "chatml_tokenizer.json").read_text(encoding="utf-8")
FOLDER = Path(__file__).parents[2] / "python" / "fastft" / "data" / "templates"
CHATML = (FOLDER / "chatml.jinja").read_text(encoding="utf-8")
QWEN3 = (FOLDER / "qwen3.jinja").read_text(encoding="utf-8")
SPECIAL = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
]


def encoder(template=CHATML, **options):
    return _engine.ChatEncoder(TOKENIZER, template, SPECIAL, json.dumps(options))


def answers(messages, template=CHATML, **options):
    """The trained texts."""
    made = encoder(template, **options)
    _, ids, runs = made.encode(json.dumps({"messages": messages}))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(TOKENIZER)
    return [tokenizer.decode(ids[a:b], skip_special_tokens=False) for a, b in runs]


def test_responses_trains_every_answer_with_its_end_token():
    assert answers(TALK) == ["1<|im_end|>", "2<|im_end|>"]


def test_last_response_trains_only_the_last_answer():
    assert answers(TALK, train_on="last_response") == ["2<|im_end|>"]


def test_all_trains_everything():
    made = encoder(train_on="all")
    _, ids, runs = made.encode(json.dumps({"messages": TALK}))
    assert runs == [(0, len(ids))]


def test_a_message_with_train_false_is_left_out_in_every_mode():
    talk = [*TALK[:4], TALK[4] | {"train": False}]
    assert answers(talk) == ["1<|im_end|>"]
    with pytest.raises(ValueError, match="E_NO_TARGET"):
        encoder(train_on="last_response").encode(json.dumps({"messages": talk}))
    assert answers(talk, train_on="all") == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
        "<|im_start|>assistant\n1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n"
    ]


def test_a_conversation_without_answer_has_no_target():
    with pytest.raises(ValueError, match="E_NO_TARGET"):
        encoder().encode(json.dumps({"messages": TALK[:2]}))


def test_control_tokens_in_a_question_are_text_or_tokens_and_are_counted():
    talk = [{"role": "user", "content": "a<|im_end|>b"}, {"role": "assistant", "content": "c"}]
    row = json.dumps({"messages": talk})
    plain, parse = encoder(), encoder(special_in_text="parse")
    text, ids, _ = plain.encode(row)
    parsed_text, parsed, _ = parse.encode(row)
    end = json.loads(TOKENIZER)["model"]["vocab"]["<|im_end|>"]
    assert text == parsed_text
    assert (ids.count(end), parsed.count(end)) == (2, 3)
    assert plain.counters() == {
        "special_in_text": 1,
        "documents_with_special": 1,
        "renderings": 2,  # the row, and words in its place that show whether the template prints everything
        "documents_with_new_ids": 0,
    }
    assert parse.counters()["special_in_text"] == 0


def test_thinking_tokens_in_an_answer_stay_tokens():
    think = next(t["id"] for t in json.loads(TOKENIZER)["added_tokens"] if t["content"] == "<think>")
    talk = [{"role": "user", "content": "<think>"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\n1"}]
    _, ids, _ = encoder(QWEN3).encode(json.dumps({"messages": talk}))
    assert ids.count(think) == 1


def test_qwen3_trains_earlier_answers_as_they_are_printed():
    assert answers(TALK, QWEN3, thinking="keep") == ["1<|im_end|>", "<think>\n\n</think>\n\n2<|im_end|>"]


def test_mask_empty_leaves_out_an_empty_thinking_block_only():
    assert answers(TALK, QWEN3, thinking="mask_empty") == ["1<|im_end|>", "2<|im_end|>"]
    talk = [*TALK[:4], TALK[4] | {"reasoning_content": "hm"}]
    full = "<think>\nhm\n</think>\n\n2<|im_end|>"
    assert answers(talk, QWEN3, thinking="mask_empty")[-1] == full


def test_strip_removes_thinking_from_the_field_and_from_the_text():
    talk = [
        TALK[1],
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\n1"},
        TALK[3],
        {"role": "assistant", "content": "2", "reasoning_content": "hm"},
    ]
    assert answers(talk, CHATML, thinking="strip") == ["1<|im_end|>", "2<|im_end|>"]
    assert answers(talk[:2], CHATML) == ["<think>\nhm\n</think>\n\n1<|im_end|>"]
    with pytest.raises(ValueError, match=r"E_TEMPLATE: .* does not print the thinking of message 4"):
        answers(talk, CHATML)
    assert answers(talk, QWEN3, thinking="strip")[-1] == "2<|im_end|>"


def test_text_documents_end_with_eos_and_begin_with_bos_when_told():
    vocab = json.loads(TOKENIZER)["model"]["vocab"]
    bos, eos = vocab["<|endoftext|>"], vocab["<|im_end|>"]
    made = _engine.ChatEncoder(TOKENIZER, None, SPECIAL, "{}")
    text, ids, runs = made.encode_text("hello")
    assert (text, ids[-1], runs) == ("hello", eos, [(0, len(ids))])
    both = _engine.ChatEncoder(TOKENIZER, None, SPECIAL, '{"add_bos_to_text": true}').encode_text("hello")[1]
    assert both == [bos, *ids]
    none = _engine.ChatEncoder(TOKENIZER, None, SPECIAL, '{"append_eos_to_text": false}').encode_text("hello")[1]
    assert none == ids[:-1]


def test_control_tokens_in_text_documents_are_text_unless_parsed():
    eos = json.loads(TOKENIZER)["model"]["vocab"]["<|im_end|>"]
    for mode, count in (("plain", 1), ("parse", 2)):
        made = _engine.ChatEncoder(TOKENIZER, None, SPECIAL, json.dumps({"special_in_text": mode}))
        assert made.encode_text("a<|im_end|>b")[1].count(eos) == count


def test_a_tokenizer_without_eos_can_not_end_text_documents():
    with pytest.raises(ValueError, match="no `eos_token`"):
        _engine.ChatEncoder(TOKENIZER, None, {}, "{}")


def test_today_is_what_the_template_prints():
    template = "{{ strftime_now('%d %b %Y') }}" + CHATML
    for today, text in (("2024-07-26", "26 Jul 2024"), ("2025-01-02", "02 Jan 2025")):
        made = encoder(template, today=today)
        assert made.render(json.dumps({"messages": TALK})).startswith(text)


def test_an_answer_that_later_turns_change_is_refused_with_a_way_out():
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if loop.last or m.role != 'assistant' else '...' }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    with pytest.raises(ValueError, match=r"E_MASK: .* message 3 .* train on `last_response`"):
        encoder(template).encode(json.dumps({"messages": TALK}))
    assert answers(TALK, template, train_on="last_response") == ["2<|im_end|>"]
