"""Generation streams what `generate` returns, stops where it must, and repeats under a seed."""

from __future__ import annotations

import threading

import pytest
import tiny
import torch

from fastft.generate import Sampling, stop_ids, stream


@pytest.fixture(scope="module")
def model():
    return tiny.model().eval()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


PROMPT = [1, 70, 71, 72]


def text(model, tokenizer, stop=frozenset(), **sampling):
    return "".join(stream(model, tokenizer, PROMPT, Sampling(**sampling), stop))


def greedy_ids(model, count):
    ids = list(PROMPT)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


def test_temperature_zero_takes_the_likeliest_token_each_time(model, tokenizer):
    expected = tokenizer.decode(greedy_ids(model, 12), skip_special_tokens=True)
    assert text(model, tokenizer, max_tokens=12) == expected


def test_it_ends_at_a_stop_token_and_does_not_show_it(model, tokenizer):
    ids = greedy_ids(model, 12)
    stop = ids[5]
    expected = tokenizer.decode(ids[: ids.index(stop)], skip_special_tokens=True)
    assert text(model, tokenizer, frozenset({stop}), max_tokens=12) == expected


def test_a_seed_repeats_and_another_differs(model, tokenizer):
    one, same, other = (text(model, tokenizer, max_tokens=20, temperature=1.0, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_small_top_p_leaves_the_likeliest_only(model, tokenizer):
    narrow = text(model, tokenizer, max_tokens=8, temperature=1.0, top_p=1e-6, seed=5)
    assert narrow == text(model, tokenizer, max_tokens=8)


def test_sampling_leaves_the_global_generator_alone(model, tokenizer):
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    text(model, tokenizer, max_tokens=3, temperature=1.0, seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_no_half_of_a_character_is_shown(tokenizer):
    """Three tokens make one Chinese character here; the stream waits for the third."""
    from fastft.generate.stream import _text

    tokens = tokenizer("你好", add_special_tokens=False)["input_ids"]
    assert len(tokens) == 6

    class Handed:
        items = iter([*tokens, None])

        def get(self):
            return next(self.items)

    assert list(_text(Handed(), tokenizer, frozenset())) == ["你", "好"]


def test_closing_the_stream_ends_the_generation(model, tokenizer):
    pieces = stream(model, tokenizer, PROMPT, Sampling(max_tokens=200), frozenset())
    next(pieces)
    pieces.close()
    assert not [t for t in threading.enumerate() if t.name == "generate"]


def test_an_error_in_the_model_rises_where_the_stream_is_read(model, tokenizer):
    with pytest.raises((IndexError, RuntimeError)):
        list(stream(model, tokenizer, [tiny.VOCABULARY + 5], Sampling(max_tokens=2), frozenset()))


def test_the_end_of_turn_of_the_template_stops_an_answer(model, tokenizer):
    assert stop_ids(model, tokenizer) == {2}
    other = tiny.tokenizer()
    other.chat_template = tiny.TEMPLATE.replace("<|im_end|>", "<|endoftext|>")
    assert stop_ids(model, other) == {0, 2}


def test_a_control_token_without_a_role_stops_an_answer(model):
    """The end of turn of some families is special in `tokenizer.json` and named nowhere else."""
    from tokenizers import AddedToken

    other = tiny.tokenizer()
    other.add_tokens([AddedToken("<|end|>", special=True), AddedToken("<tool>", special=False)])
    ends = {}
    for word in ("<|end|>", "<tool>"):
        other.chat_template = tiny.TEMPLATE.replace("<|im_end|>", word)
        ends[word] = other.convert_tokens_to_ids(word) in stop_ids(model, other)
    assert ends == {"<|end|>": True, "<tool>": False}
