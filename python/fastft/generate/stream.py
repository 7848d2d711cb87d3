"""Generation as a stream of text, over transformers' `generate` with its KV cache.

`generate` runs in a thread of its own and hands each token over; the text is cut where it is
certain, so that no half of a character is shown. Closing the stream ends the generation at
the next token.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_tokens: the most tokens of an answer.
        temperature: 0 takes the likeliest token each time; higher is more varied.
        top_p: of the likeliest tokens, as many as have this probability together.
        seed: of the draws; the same seed gives the same answer. None is a new one each time.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


def stream(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, ids: list[int], sampling: Sampling, stop: frozenset[int]
) -> Iterator[str]:
    """Yield the text that follows `ids`, piece by piece, without the token that ends it.

    Args:
        model: a causal language model, or a PEFT model around one, in evaluation mode.
        tokenizer: turns ids into text.
        ids: the prompt.
        sampling: how tokens are chosen, and how many there may be.
        stop: ids that end the answer.
    """
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList
    from transformers.generation.streamers import BaseStreamer

    handed: queue.Queue[int | BaseException | None] = queue.Queue()
    stopped = threading.Event()

    class Hand(BaseStreamer):
        prompt = True

        def put(self, value: Any) -> None:
            if self.prompt:  # the first call brings the prompt
                self.prompt = False
                return
            for token in value.flatten().tolist():
                handed.put(token)

        def end(self) -> None:
            pass

    def asked_to_stop(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), stopped.is_set(), device=input_ids.device)

    device = next(model.parameters()).device
    sampled = sampling.temperature > 0
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=sampling.max_tokens,
        do_sample=sampled,
        temperature=sampling.temperature if sampled else None,
        top_p=sampling.top_p if sampled else None,
        top_k=0 if sampled else None,
        eos_token_id=sorted(stop) or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stop, default=0),
        use_cache=True,
    )

    def run() -> None:
        prompt = torch.tensor([ids], device=device)
        try:
            with torch.no_grad(), torch.random.fork_rng(enabled=sampled):
                if sampled and sampling.seed is not None:
                    torch.manual_seed(sampling.seed)
                model.generate(  # type: ignore[operator]
                    input_ids=prompt,
                    attention_mask=torch.ones_like(prompt),
                    generation_config=config,
                    streamer=Hand(),
                    stopping_criteria=StoppingCriteriaList([asked_to_stop]),
                )
            handed.put(None)
        except BaseException as error:  # whatever it is, it belongs to the caller's thread
            handed.put(error)

    worker = threading.Thread(target=run, name="generate", daemon=True)
    worker.start()
    try:
        yield from _text(handed, tokenizer, stop)
    finally:
        stopped.set()
        worker.join()


def _text(
    handed: queue.Queue[int | BaseException | None], tokenizer: PreTrainedTokenizerBase, stop: frozenset[int]
) -> Iterator[str]:
    """Decode tokens as they come; what may still change with the next token is held back."""
    tokens: list[int] = []
    shown = ""
    while True:
        item = handed.get()
        if isinstance(item, BaseException):
            raise item
        if item is None or item in stop:
            break
        tokens.append(item)
        text = _decode(tokenizer, tokens)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a character
            continue
        if len(text) > len(shown) and text.startswith(shown):
            yield text[len(shown) :]
            shown = text
    text = _decode(tokenizer, tokens)
    if len(text) > len(shown):
        yield text[len(shown) :]


def _decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def stop_ids(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that end an answer: what model and tokenizer call the end, and the template's end of turn.

    A chat template closes a turn with a control token, which is not always the tokenizer's
    `eos_token`; it is found by rendering an answer and looking at what follows it.
    """
    found: set[int] = set()
    config = getattr(model, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    found.update([named] if isinstance(named, int) else named or [])
    if isinstance(tokenizer.eos_token_id, int):
        found.add(tokenizer.eos_token_id)
    if tokenizer.chat_template is not None:
        turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "fastft-answer"}]
        # A template may refuse this conversation in words of its own; then the ids above are all there is.
        with suppress(Exception):
            text = str(tokenizer.apply_chat_template(turn, tokenize=False))
            after = tokenizer(text.split("fastft-answer")[-1].lstrip(), add_special_tokens=False)["input_ids"]
            # Not `all_special_ids`: it lacks control tokens that have no role, such as Phi-3's `<|end|>`.
            control = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
            if after and after[0] in control.union(tokenizer.all_special_ids):
                found.add(after[0])
    return frozenset(found)
