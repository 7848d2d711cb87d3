"""A conversation with a trained model, from Python or in a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fastft.core.errors import FastftError, ModelError
from fastft.core.registry import closest
from fastft.generate import Sampling, stop_ids, stream

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


class Chat:
    """A model and the conversation so far.

    Args:
        model: in evaluation mode.
        tokenizer: with a chat template.
        system: the system message, None for the template's own.
        sampling: how tokens are chosen.

    Attributes:
        messages: the turns so far, as the chat template takes them.
        system: the system message.
        context: the most tokens that the model reads and writes together, None when it does not say.
        left_out: how many of the oldest messages the last answer was made without, to fit the context.

    Raises:
        ModelError: when the tokenizer has no chat template; by answers, when it refuses the messages or one alone is
            longer than the context.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system: str | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        if tokenizer.chat_template is None:
            raise ModelError(
                "the model has no chat template, so it can't hold a conversation",
                hint="train it on conversations, or take the instruction-tuned version of it",
                code="model.no-template",
            )
        self.model = model
        self.tokenizer = tokenizer
        self.system = system
        self.sampling = sampling or Sampling()
        self.messages: list[dict[str, str]] = []
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        self.left_out = 0
        self._stop = stop_ids(model, tokenizer)

    def chat(
        self,
        text: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> str:
        """Answer one message on its own; the conversation is neither read nor changed.

        Args:
            text: what the user says.
            max_tokens: the most tokens of the answer.
            temperature: 0 is greedy.
            seed: of the draws, when the temperature is not 0.
        """
        given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        sampling = replace(self.sampling, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        return "".join(self._answer([{"role": "user", "content": text}], sampling))

    once = chat

    def reply(self, text: str) -> Iterator[str]:
        """Go on with the conversation: yield the answer as it is made, and remember both.

        A stream that is closed early leaves what was said so far.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        answer = self._answer(asked, self.sampling)
        self.messages[:] = asked
        said: list[str] = []
        try:
            for piece in answer:
                said.append(piece)
                yield piece
        finally:
            self.messages.append({"role": "assistant", "content": "".join(said)})

    def clear(self) -> None:
        """Forget the conversation; the system message stays."""
        self.messages.clear()

    def _answer(self, messages: list[dict[str, str]], sampling: Sampling) -> Iterator[str]:
        """Answer the newest messages that leave room for it; older ones than fit are left out in pairs."""
        ids = self._ids(messages)
        self.left_out = 0
        if self.context is not None:
            room = self.context - min(sampling.max_tokens, self.context // 4)
            while len(ids) > room and self.left_out + 2 < len(messages):
                self.left_out += 2
                ids = self._ids(messages[self.left_out :])
            if len(ids) >= self.context:
                raise ModelError(
                    f"the message comes to {len(ids):,} tokens, and the model reads {self.context:,} at most",
                    hint="shorten it, or the system message",
                    code="model.context",
                )
            sampling = replace(sampling, max_tokens=min(sampling.max_tokens, self.context - len(ids)))
        return stream(self.model, self.tokenizer, ids, sampling, self._stop)

    def _ids(self, messages: list[dict[str, str]]) -> list[int]:
        from jinja2 import TemplateError

        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        try:
            text = self.tokenizer.apply_chat_template([*system, *messages], add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ModelError(
                f"the chat template refuses the conversation: {error}",
                hint="some models take no system message" if system else None,
                code="model.template-refused",
            ) from error
        ids: list[int] = self.tokenizer(str(text), add_special_tokens=False)["input_ids"]
        return ids


def open_chat(
    path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    system: str | None = None,
    sampling: Sampling | None = None,
    base: str | None = None,
) -> Chat:
    """Read a run, an adapter or any model for a conversation.

    Raises:
        ModelError: when it can't be found or read, or has no chat template.
    """
    from fastft.models.devices import choose_device
    from fastft.models.open import open_trained
    from fastft.models.precision import choose_dtype

    where = choose_device(device)
    opened = open_trained(path, device=where, dtype=choose_dtype(dtype, where), base=base)
    return Chat(opened.model, opened.tokenizer, system=system, sampling=sampling)


_HELP = """\
/clear          forget the conversation
/system [TEXT]  set the system message, or leave it to the template; forgets the conversation
/retry          answer the last message again
/save FILE      write the conversation as one JSON line
/help           this list
/quit           leave (or Ctrl-D)"""


def converse(chat: Chat, *, read: Callable[[str], str] | None = None, out: TextIO | None = None) -> None:
    """Hold a conversation until `/quit` or the end of the input.

    Ctrl-C ends an answer that is being written, and the conversation at the prompt. Where lines come from a file or a
    pipe, nobody is asked: `out` has the answers alone, and all other words go to standard error.

    Args:
        chat: what answers.
        read: asks for a line, as `input` does; None reads standard input.
        out: where answers go; standard output when None.
    """
    stream_to = out or sys.stdout
    alone = read is None and not sys.stdin.isatty()
    notes, prompt = (sys.stderr, "") if alone else (stream_to, "> ")
    read = read or input
    while True:
        try:
            line = read(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            if not alone:
                print(file=stream_to)
            return
        if line == "/quit":
            return
        if line == "/retry":
            if len(chat.messages) < 2:
                print("there is nothing to answer again", file=notes)
                continue
            line = chat.messages[-2]["content"]
            del chat.messages[-2:]
        elif line.startswith("/"):
            print(_command(chat, line), file=notes)
            continue
        if line:
            _say(chat, line, stream_to, notes)


def _say(chat: Chat, line: str, out: TextIO, notes: TextIO) -> None:
    before, answer = chat.left_out, chat.reply(line)
    try:
        for piece in answer:
            print(piece, end="", file=out, flush=True)
    except FastftError as error:  # the conversation is as it was
        print(error, file=notes)
        return
    except KeyboardInterrupt:
        answer.close()  # type: ignore[attr-defined]  # a generator; the interface says less
        print(" ...", end="", file=out)
    print(file=out)
    if chat.left_out > before:
        print(f"(answered without the first {chat.left_out} messages: the model's context is full)", file=notes)


def _command(chat: Chat, line: str) -> str:
    """Do what a slash command says; returns what to tell the user."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/help":
        return _HELP
    if name == "/clear":
        chat.clear()
        return "the conversation is forgotten"
    if name == "/system":
        chat.clear()
        chat.system = rest or None
        return "the system message is set" if rest else "the system message is the template's own"
    if name == "/save":
        if not rest:
            return "`/save` needs the name of a file"
        system = [] if chat.system is None else [{"role": "system", "content": chat.system}]
        record = json.dumps({"messages": [*system, *chat.messages]}, ensure_ascii=False)
        try:
            with Path(rest).expanduser().open("a", encoding="utf-8") as file:
                file.write(record + "\n")
        except OSError as error:
            return f"`{rest}` can't be written: {error.strerror}"
        return f"saved to {rest}"
    near = closest(name, ["/help", "/clear", "/system", "/save", "/retry", "/quit"])
    return f"there is no `{name}`; " + (f"did you mean `{near}`?" if near else "`/help` lists the commands")
