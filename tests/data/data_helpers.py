"""A tokenizer of 260 ids, rows, and the shortest way to prepare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastft.config.kinds import STAGES, TokenizerFiles
from fastft.config.schema import DataConfig
from fastft.core.events import Bus, Event
from fastft.data import Prepared, prepare

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]


def make_tokenizer(folder: Path) -> TokenizerFiles:
    """Byte-level, without merges: one id a byte, and the control tokens of ChatML."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    return TokenizerFiles(
        folder=folder,
        chat_template=None,
        special_tokens={"bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "pad_token": SPECIAL[3]},
        bos_id=ids[SPECIAL[0]],
        eos_id=ids[SPECIAL[2]],
        pad_id=ids[SPECIAL[3]],
        vocab_size=len(alphabet) + len(SPECIAL),
        key="test-tokenizer",
    )


class Heard:
    """Keeps the events of a bus."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def codes(self) -> list[str]:
        return [event.code for event in self.events if event.event == "warned"]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


class Kitchen:
    """Prepares data with one tokenizer and one cache."""

    def __init__(self, tokenizer: TokenizerFiles, cache: Path) -> None:
        self.tokenizer, self.cache = tokenizer, cache

    def prepare(
        self,
        *sources: Path | dict[str, Any],
        stage: str = "sft",
        stage_options: dict[str, Any] | None = None,
        seed: int = 1,
        eval_fraction: float = 0.0,
        eval_sources: tuple[Path, ...] = (),
        out: Path | None = None,
        heard: Heard | None = None,
        config_dir: Path | None = None,
        **options: Any,
    ) -> Prepared:
        config = self.config(*sources, eval_sources=eval_sources, **options)
        member = STAGES.get(stage)
        assert member is not None
        return prepare(
            config,
            member(**(stage_options or {})),
            self.tokenizer,
            seed=seed,
            eval_fraction=eval_fraction,
            config_dir=config_dir,
            cache=self.cache,
            out=out,
            bus=Bus([heard] if heard is not None else []),
        )

    def config(
        self, *sources: Path | dict[str, Any], eval_sources: tuple[Path, ...] = (), **options: Any
    ) -> DataConfig:
        def table(source: Path | dict[str, Any]) -> dict[str, Any]:
            return source if isinstance(source, dict) else {"path": str(source)}

        return DataConfig.model_validate(
            {
                "train": [table(source) for source in sources],
                "eval": [table(source) for source in eval_sources],
                "template": "chatml",
                "max_length": 256,
                "threads": 2,
                **options,
            }
        )


def ids_of(prepared: Prepared) -> list[list[int]]:
    return [prepared.train.document(index)[0] for index in range(len(prepared.train))]


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text("utf-8").splitlines()]
