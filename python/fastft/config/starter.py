"""The config that `fastft config init` writes: short, complete, explained by the keys' own documentation."""

from __future__ import annotations

import json

from fastft.config.fields import docs
from fastft.config.schema import (
    BatchConfig,
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
    SourceConfig,
)
from fastft.config.section import Section


def starter(name: str, model: str, data: str) -> str:
    """A supervised LoRA run.

    Args:
        name: the run's name; what may not stand in one is left out.
        model: goes into `model.path`.
        data: goes into the path of the one source.
    """
    clean = "".join(char if (char.isalnum() and char.isascii()) or char in "._-" else "-" for char in name).lstrip(
        "._-"
    )
    lines = [
        "# fastft train THIS_FILE            train",
        "# fastft train THIS_FILE --dry-run  see what would be done",
        "# fastft config explain KEY         what a key means",
        _key(RunConfig, "name", json.dumps(clean or "run")),
        _key(RunConfig, "epochs", "1"),
        "",
        "[model]",
        _key(ModelConfig, "path", json.dumps(model, ensure_ascii=False)),
        "",
        "[data]",
        _key(DataConfig, "max_length", "1024"),
        "",
        "[[data.train]]",
        _key(SourceConfig, "path", json.dumps(data, ensure_ascii=False)),
        "",
        "[stage]  # what is learnt: answers of conversations",
        'kind = "sft"',
        "",
        "[method]  # which weights are trained: a low-rank update",
        'kind = "lora"',
        "rank = 16",
        "",
        "[optimizer]",
        'kind = "adamw"',
        "lr = 2e-4",
        "",
        "[batch]",
        _key(BatchConfig, "tokens", "8192"),
        "",
        "[checkpoint]",
        _key(CheckpointConfig, "every", "100"),
        "",
        "[eval]",
        _key(EvalConfig, "fraction", "0.02"),
    ]
    return "\n".join(lines) + "\n"


def _key(section: type[Section], name: str, value: str) -> str:
    return f"# {docs(section)[name]}\n{name} = {value}"
