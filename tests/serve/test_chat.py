"""A conversation remembers what it should, and its commands do what `/help` says."""

from __future__ import annotations

import io
import json

import pytest
import tiny
import torch

from fastft import models
from fastft.config.schema import ModelConfig
from fastft.core.errors import ModelError
from fastft.generate import Sampling
from fastft.methods.lora import LoRA
from fastft.serve import Chat, converse, open_chat


@pytest.fixture
def chat():
    return Chat(
        tiny.model(vocab_size=259, tie_word_embeddings=False, initializer_range=0.4).eval(),
        tiny.tokenizer(),
        sampling=Sampling(max_tokens=12),
    )


def talk(chat, *lines):
    given = iter(lines)
    out = io.StringIO()

    def read(prompt):
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    converse(chat, read=read, out=out)
    return out.getvalue().splitlines()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with an adapter that changes the answers."""
    root = tmp_path_factory.mktemp("chat")
    base = tiny.folder(root / "base")
    loaded = models.load(ModelConfig(path=str(base)), device=torch.device("cpu"), dtype=torch.float32)
    method = LoRA(rank=4)
    adapted = method.attach(loaded.model)
    torch.manual_seed(0)
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.5)
    final = root / "run" / "final"
    final.mkdir(parents=True)
    (root / "run" / "run.json").write_text("{}")
    models.save_trained(adapted, method, final, tokenizer=loaded.tokenizer)
    return root / "run"


def test_chat_answers_alone_and_reply_goes_on(chat):
    alone = chat.chat("hello")
    assert chat.messages == []
    assert "".join(chat.reply("hello")) == alone
    assert chat.messages == [{"role": "user", "content": "hello"}, {"role": "assistant", "content": alone}]
    assert chat.once("hello") == alone


def test_the_conversation_so_far_changes_the_answer(chat):
    first = "".join(chat.reply("hello"))
    assert "".join(chat.reply("hello")) != first


def test_the_system_message_changes_the_answer(chat):
    plain = chat.chat("hello", max_tokens=12)
    chat.system = "speak like a pirate"
    assert chat.chat("hello", max_tokens=12) != plain


def test_max_tokens_and_temperature_are_obeyed(chat):
    assert chat.chat("hello", max_tokens=1) != chat.chat("hello", max_tokens=8)
    hot = {chat.chat("hello", max_tokens=8, temperature=2.0, seed=s) for s in range(3)}
    assert len(hot) > 1


def test_a_stream_that_is_closed_keeps_what_was_said(chat):
    chat.sampling = Sampling(max_tokens=100)
    answer = chat.reply("hello")
    said = next(answer)
    answer.close()
    assert chat.messages[-1] == {"role": "assistant", "content": said}


def test_a_conversation_longer_than_the_context_goes_on_without_its_oldest_turns(chat):
    chat.sampling = Sampling(max_tokens=20)
    assert chat.context == 256
    lines = talk(chat, *["x" * 60] * 4, "/system " + "s" * 20, "x" * 60)
    assert [line for line in lines if line.startswith("(")] == [
        "(answered without the first 2 messages: the model's context is full)",
        "(answered without the first 4 messages: the model's context is full)",
    ]
    assert len(chat.messages) == 2  # `/system` forgets
    assert chat.left_out == 0


def test_an_answer_ends_at_the_context_and_a_longer_message_is_refused(chat):
    chat.sampling = Sampling(max_tokens=400)
    chat._stop = frozenset()
    room = chat.context - len(chat._ids([{"role": "user", "content": "x" * 200}]))
    assert 0 < len(chat.tokenizer("".join(chat.reply("x" * 200)))["input_ids"]) <= 3 * room
    before = list(chat.messages)
    with pytest.raises(ModelError, match="at most"):
        next(chat.reply("x" * 300))
    assert chat.messages == before
    assert any("at most" in line for line in talk(chat, "x" * 300, "/quit"))


def test_a_template_that_refuses_is_told_in_its_words(chat):
    chat.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny.TEMPLATE
    )
    lines = talk(chat, "/system be brief", "hello")
    assert any("refuses the conversation: no system" in line for line in lines)
    assert chat.messages == []


def test_commands(chat, tmp_path):
    saved = tmp_path / "talk.jsonl"
    lines = talk(
        chat, "hello", "/retry", "/hepl", "/save", f"/save {saved}", "/system be brief", "/clear", "/retry", "/help"
    )
    assert lines[0] == lines[1]
    assert "there is no `/hepl`; did you mean `/help`?" in lines
    assert "`/save` needs the name of a file" in lines
    record = json.loads(saved.read_text(encoding="utf-8"))
    assert [m["role"] for m in record["messages"]] == ["user", "assistant"]
    assert "the system message is set" in lines
    assert "there is nothing to answer again" in lines
    assert any(line.startswith("/quit") for line in lines)
    assert chat.system == "be brief"
    assert chat.messages == []


def test_a_file_that_can_not_be_written_is_told(chat, tmp_path):
    assert any("can't be written" in line for line in talk(chat, f"/save {tmp_path / 'no' / 'x'}"))


def test_lines_from_a_pipe_give_answers_and_nothing_else(chat, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n/clear\n/nonsense\n\nhello\n"))
    converse(chat)
    said = capsys.readouterr()
    answer = chat.once("hello")
    assert said.out == f"{answer}\n{answer}\n"
    assert said.err == "the conversation is forgotten\nthere is no `/nonsense`; `/help` lists the commands\n"


def test_quit_leaves_before_the_next_line(chat):
    talk(chat, "/quit", "hello")
    assert chat.messages == []


def test_a_run_answers_with_its_adapter_and_its_folders_do_too(run):
    adapted = open_chat(run).chat("hello", max_tokens=8)
    assert open_chat(run / "final").chat("hello", max_tokens=8) == adapted
    assert open_chat(run.parent / "base").chat("hello", max_tokens=8) != adapted


def test_a_run_without_a_result_is_told(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="has no result yet"):
        open_chat(tmp_path)


def test_an_adapter_whose_base_has_gone_is_told_and_takes_another(run, tmp_path):
    import shutil

    moved = tmp_path / "final"
    shutil.copytree(run / "final", moved)
    config = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(ModelError, match="base of the adapter"):
        open_chat(moved)
    assert open_chat(moved, base=str(run.parent / "base")).chat("hello", max_tokens=4)


def test_a_model_without_a_template_can_not_chat():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Chat(tiny.model(), tokenizer)
