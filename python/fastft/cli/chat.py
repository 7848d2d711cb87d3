"""Talk to a run or a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastft.cli import console
from fastft.cli.options import json_option

if TYPE_CHECKING:
    from fastft.serve.chat import Chat


@click.command("chat")
@click.argument("model", metavar="RUN|MODEL")
@click.option(
    "--once", "questions", metavar="TEXT", multiple=True, help="Answer this and end, for scripts. Repeatable."
)
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Longest answer.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="0 is greedy; 1 draws as learnt.",
)
@click.option("--seed", type=int, help="Of the draws; the same seed gives the same answer.")
@click.option("--system", metavar="TEXT", help="The system message; else the template's own.")
@click.option("--beside-base", is_flag=True, help="With --once: also what the model answered before it was trained.")
@json_option
def command(
    model: str,
    questions: tuple[str, ...],
    max_tokens: int,
    temperature: float,
    seed: int | None,
    system: str | None,
    beside_base: bool,
    as_json: bool,
) -> None:
    """Talk to a run or a model.

    RUN is a run's folder, its NAME/TIME or its name; MODEL is what `model.path` takes in a config. Type
    /help in the conversation for its commands.
    """
    if (beside_base or as_json) and not questions:
        raise click.UsageError("--beside-base and --json go with --once")
    from fastft.generate import Sampling
    from fastft.serve.chat import converse, open_chat

    path = located(model)
    chat = open_chat(path, system=system, sampling=Sampling(max_tokens, temperature, seed=seed))
    if not questions:
        converse(chat)
        return
    before = _before(chat, path, questions) if beside_base else [None] * len(questions)
    for question, old in zip(questions, before, strict=True):
        if not as_json and (beside_base or len(questions) > 1):
            console.out(f"{console.style('>', 'cyan', sys.stdout)} {question}")
        if not as_json and old is not None:
            console.out(f"  before: {_indented(old)}")
        answer = chat.once(question)
        if as_json:
            told = {"question": question, "answer": answer}
            console.out_json(told if old is None else {**told, "before": old})
        else:
            console.out(f"  after:  {_indented(answer)}\n" if old is not None else answer)
        sys.stdout.flush()


def located(word: str) -> str:
    """The folder of the run that a word means, or the word itself: a folder or a model's name."""
    from fastft.core.errors import FastftError
    from fastft.run.registry import load_run

    if Path(word).expanduser().exists() or ":" in word or word.endswith(".gguf"):
        return word
    try:
        return str(load_run(word).path)
    except FastftError:  # no run: what models are called is for `models.resolve` to say
        return word


def _before(chat: Chat, path: str, questions: tuple[str, ...]) -> list[str]:
    """The base model's answers: the same weights with the adapter off, or the base read anew."""
    switch_off = getattr(chat.model, "disable_adapter", None)  # PEFT's, which this layer does not import
    if switch_off is not None:
        with switch_off():
            return [chat.once(question) for question in questions]
    from fastft.run.registry import Run, is_run
    from fastft.serve.chat import open_chat

    if not is_run(path):
        raise click.UsageError(f"{path} is a model, not a run: there is no base to put beside it")
    base = open_chat(Run(Path(path)).config.model.path, system=chat.system, sampling=chat.sampling)
    return [base.once(question) for question in questions]


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n          ")
