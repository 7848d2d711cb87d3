"""Whatever is cut, a trained row ends with the template's end token, and every token is accounted for."""

from __future__ import annotations

import functools
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastft import _engine
from fastft.data.templates import catalog

FIXTURES = Path(__file__).parent / "fixtures"
CHATML = (FIXTURES / "chatml_tokenizer.json").read_text(encoding="utf-8")
MANY = (FIXTURES / "many_tokenizer.json").read_text(encoding="utf-8")
SIDES = {
    "chatml": (CHATML, {"eos_token": "<|im_end|>"}, "<|im_end|>"),
    "qwen": (CHATML, {"eos_token": "<|im_end|>"}, "<|im_end|>"),
    "qwen3": (CHATML, {"eos_token": "<|im_end|>"}, "<|im_end|>"),
    "smollm2": (CHATML, {"eos_token": "<|im_end|>"}, "<|im_end|>"),
    "llama3": (MANY, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}, "<|eot_id|>"),
    "gemma3": (MANY, {"bos_token": "<s>", "eos_token": "</s>"}, "<end_of_turn>"),
    "mistral": (MANY, {"bos_token": "<s>", "eos_token": "</s>"}, "</s>"),
    "phi3": (MANY, {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, "<|end|>"),
    "zephyr": (MANY, {"bos_token": "<s>", "eos_token": "</s>"}, "</s>"),
    "glm4": (MANY, {"bos_token": "<s>", "eos_token": "</s>"}, "<|user|>"),
}
POLICIES = ("drop", "error", "right", "left", "middle", "turns", "split", "llamafactory")


@functools.cache
def side(name: str, tagged: bool = True):
    """The encoder, and the ids that end an answer: the template's, and EOS where that ends a rendering."""
    tokenizer, special, end = SIDES[name]
    source = catalog.source(name)
    if not tagged:
        source = source.replace("{%- generation %}", "{#- -#}").replace("{%- endgeneration %}", "{#- -#}")
    made = _engine.ChatEncoder(tokenizer, source, special, "{}")
    ends = [t["id"] for t in json.loads(tokenizer)["added_tokens"] if t["content"] in (end, special["eos_token"])]
    return made, ends


texts = st.text(alphabet="ab \n'é你.<|>", min_size=1, max_size=40).filter(str.strip)
turns = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)
conversations = st.builds(
    lambda pairs: [
        message
        for question, answer in pairs
        for message in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ],
    turns,
)
rows = st.one_of(
    conversations.map(lambda messages: {"messages": messages}),
    st.tuples(conversations, st.lists(texts, min_size=2, max_size=3)).map(
        lambda made: {
            "messages": made[0][:-1],
            "answers": [[{"role": "assistant", "content": text}] for text in made[1]],
        }
    ),
    st.tuples(conversations, st.booleans()).map(lambda made: {"messages": made[0], "desirable": made[1]}),
)


def law(name: str, row: dict, policy: str, room: int, tagged: bool) -> None:
    made, ends = side(name, tagged)
    text = json.dumps(row)
    whole = made.documents(text)
    cut, refusal = None, None
    try:
        cut = made.cut(text, policy, room)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert ("E_TOO_LONG" if policy == "error" else "E_NO_TARGET") in refusal, refusal
        assert max(len(document["ids"]) for document in whole) > room
        return
    if cut is None:
        assert max(len(document["ids"]) for document in whole) > room
        assert policy not in ("right", "left", "middle", "error") or "messages" in row
        return
    documents, gone = cut
    assert sum(len(document["ids"]) for document in whole) - gone == sum(len(document["ids"]) for document in documents)
    assert len(documents) == len(whole)
    assert [document["rank"] for document in documents] == [document["rank"] for document in whole]
    for document, before in zip(documents, whole, strict=True):
        ids, trained = document["ids"], document["trained"]
        assert 0 < len(ids) <= room
        assert all(0 <= a < b <= len(ids) for a, b in trained)
        assert all(a[1] <= b[0] for a, b in pairwise(trained))
        # the row ends with the end token of an answer, and that is trained; only whitespace may follow
        last = trained[-1][1] - 1
        assert ids[last] in ends, (policy, document)
        assert len(ids) - last <= 3
        assert set(ids) <= set(before["ids"]) or policy == "turns"
        if "answers" in row and policy != "llamafactory":
            (a, b), (c, d) = trained[0], before["trained"][0]
            assert ids[a:b] == before["ids"][c:d], "an answer was cut"
    if "answers" in row:
        prompts = [tuple(document["ids"][: document["trained"][0][0]]) for document in documents]
        assert len(set(prompts)) == 1 or not same_prompts(whole)


def same_prompts(documents: list[dict]) -> bool:
    return len({tuple(document["ids"][: document["trained"][0][0]]) for document in documents}) == 1


arguments = given(
    name=st.sampled_from(sorted(SIDES)),
    row=rows,
    policy=st.sampled_from(POLICIES),
    room=st.integers(8, 160),
    tagged=st.booleans(),
)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@arguments
def test_a_cut_row_ends_with_the_end_token_and_is_accounted_for(name, row, policy, room, tagged):
    law(name, row, policy, room, tagged)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@arguments
def test_ten_thousand_cut_rows_end_with_the_end_token(name, row, policy, room, tagged):
    law(name, row, policy, room, tagged)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_does_something_else_with_a_long_conversation(policy):
    made, _ = side("chatml")
    talk = [{"role": "system", "content": "Be brief."}]
    for number in range(6):
        talk.append({"role": "user", "content": f"question {number}, and much about it" * 2})
        talk.append({"role": "assistant", "content": f"answer {number}, and much about it" * 2})
    row = json.dumps({"messages": talk})
    whole = made.documents(row)[0]["ids"]
    if policy == "error":
        with pytest.raises(ValueError, match=rf"E_TOO_LONG: the row has {len(whole)} tokens, `max_length` is 200"):
            made.cut(row, policy, 200)
        return
    cut = made.cut(row, policy, 200)
    if policy in ("drop", "split"):  # `split` is for text
        assert cut is None
        return
    (document,), gone = cut
    ids = document["ids"]
    assert gone == len(whole) - len(ids) > 0
    if policy == "right":
        assert ids[:150] == whole[:150]
    if policy == "left":
        assert ids == whole[-200:]
    if policy == "middle":
        assert ids == whole[:100] + whole[-100:]
        assert not any(a <= 100 < b for a, b in document["trained"]), "nothing is predicted across the gap"
    if policy == "turns":
        assert document["text"].startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nquestion")
        assert document["text"].endswith("answer 5, and much about it<|im_end|>\n")
    if policy == "llamafactory":
        assert ids != whole[:200]
        assert len(document["trained"]) >= 1


def test_split_cuts_text_into_pieces_and_loses_none():
    made, (end,) = side("chatml")
    text = json.dumps({"text": "word " * 100})
    (whole,) = made.documents(text)
    documents, gone = made.cut(text, "split", 32)
    assert gone == 0
    assert [token for piece in documents for token in piece["ids"]] == whole["ids"]
    assert documents[-1]["ids"][-1] == end
    for policy in ("right", "left", "middle", "llamafactory"):
        (document,), gone = made.cut(text, policy, 32)
        assert len(document["ids"]) == 32
        assert gone == len(whole["ids"]) - 32
        assert document["ids"][-1] == end
