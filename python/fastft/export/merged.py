"""A run's adapter merged into its base: one ordinary Hugging Face folder.

The merge happens in float32 on the full-precision base. Before the folder appears under its
name, the merged model's logits on fixed prompts must be those of base and adapter, and the
folder, read back as any other program would read it, must hold each merged tensor bit for bit
in the type asked for, with a complete index. Logits are compared in float64 where the model is
small enough: in float32 the rounding of two correct orders of summation already comes to 1e-4
over thirty layers, and would hide or feign an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastft.core.errors import ConfigError, Problem, ResourceError, VerificationError
from fastft.core.paths import new_folder, writing

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

PROMPTS = (
    "Hello, who are you?",
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:",
    "1234 + 5678 = ",
    "Once upon a time, in a village by the sea,",
    "你好，请介绍一下你自己。",
    "Translate to German: The weather is nice today.",
    "{\"name\": \"fastft\", \"version\":",
)  # fmt: skip

_FLOAT64_PARAMETERS = 2_000_000_000
"""Models above this are compared in float32, and allowed its rounding: 1e-5 of the largest logit."""

_ALLOWED = 1e-4
"""Largest difference of a logit between the merged model in float32 and base with adapter."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the folder.
        parameters: how many numbers it holds.
        size_bytes: of its weight files.
        difference: the largest difference of a logit to base and adapter; in bfloat16, with its rounding.
        dtype: of the weights.
    """

    path: Path
    parameters: int
    size_bytes: int
    difference: float
    dtype: str


def export_merged(
    source: str | Path,
    out: str | Path,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    base: str | None = None,
    shard_size: str = "5GB",
) -> Exported:
    """Write a run's result as one model, verified.

    Args:
        source: a run's folder, an adapter's, or a model's.
        out: the folder to make.
        dtype: of the weights written.
        base: the adapter's base, when it is no longer where the adapter says.
        shard_size: largest weight file, for example `5GB`.

    Raises:
        ConfigError: when `out` exists and is not an empty folder.
        ModelError: when the source can't be read.
        ResourceError: when the disk is full; nothing is left at `out`.
        VerificationError: when the result is not the model that was trained; nothing is left at `out`.
    """
    import torch
    from safetensors import SafetensorError

    from fastft.models import load_tokenizer
    from fastft.models.load import read_model
    from fastft.models.merge import load_adapter, merged
    from fastft.models.open import locate
    from fastft.models.save import save_model

    target = Path(out)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        problem = Problem(
            "export.target-exists", None, f"`{target}` exists and is not empty", hint="name another folder, or empty it"
        )
        raise ConfigError([problem])
    place = locate(source, base=base)
    tokenizer = load_tokenizer(place.tokenizer)
    whole = read_model(place.base, dtype=torch.float32)
    with writing(target), new_folder(target) as folder:
        if place.adapter is None:
            expected = _logits(whole, tokenizer)
        else:
            adapted = load_adapter(whole, place.adapter)
            expected = _logits(adapted, tokenizer)
            whole = merged(adapted, torch.float32)
        difference = _check_logits(whole, tokenizer, expected)
        wanted = getattr(torch, dtype)
        whole.config.dtype = wanted
        whole.config._name_or_path = ""
        try:
            save_model(whole, folder, shard_size=shard_size)
        except SafetensorError as error:  # a full disk is no OSError to safetensors
            raise ResourceError(
                f"`{target}` could not be written: {error}",
                hint="make room, or name a folder on another disk",
                code="resource.disk",
            ) from error
        tokenizer.save_pretrained(folder)
        size = _check_files(folder)
        again = read_model(folder, dtype=wanted)
        _check_tensors(again, whole)
        del whole
        parameters = sum(p.numel() for p in again.parameters())
        if wanted != torch.float32:
            difference = _difference(_logits(again, tokenizer), expected)
    return Exported(target, parameters, size, difference, dtype)


def _logits(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> list[Tensor]:
    """(L, V) for each prompt; the model comes back in float32, which float64 holds exactly."""
    import torch
    from torch import nn

    model.train(False)
    if sum(p.numel() for p in model.parameters()) <= _FLOAT64_PARAMETERS:
        nn.Module.to(model, torch.float64)
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"] or [0]])
        with torch.no_grad():
            found.append(model(input_ids=ids, use_cache=False).logits[0])
    nn.Module.to(model, torch.float32)
    return found


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def _check_logits(model: nn.Module, tokenizer: PreTrainedTokenizerBase, expected: list[Tensor]) -> float:
    """Largest difference of a logit between the merged model and what was trained."""
    import torch

    difference = _difference(_logits(model, tokenizer), expected)
    allowed = _ALLOWED
    if expected[0].dtype != torch.float64:
        allowed = max(allowed, 1e-5 * max(float(logits.abs().max()) for logits in expected))
    if not difference <= allowed:  # also when it is no number
        raise VerificationError(
            f"logits of the merged model differ from those of base and adapter by {difference:.2e}, "
            f"and {allowed:.0e} is allowed",
            hint="nothing was written; use the adapter as it is, and report this",
        )
    return difference


def _check_tensors(written: nn.Module, merged: nn.Module) -> None:
    """Every tensor read back must be the merged one, rounded to the type it is stored in."""
    import torch

    found, wanted = written.state_dict(), merged.state_dict()
    if found.keys() != wanted.keys():
        names = sorted(found.keys() ^ wanted.keys())
        raise VerificationError(f"the written model differs in {len(names)} tensors, first `{names[0]}`")
    for name, tensor in wanted.items():
        if not torch.equal(found[name], tensor.to(found[name].dtype)):
            raise VerificationError(f"`{name}` was not written as it was merged")


def _check_files(folder: Path) -> int:
    """Bytes of the weight files; every tensor that the index names must be in the file it names.

    Raises:
        VerificationError: when one is not.
    """
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise VerificationError("no weight file was written")
    inside: dict[str, str] = {}
    for path in files:
        with safe_open(path, framework="pt") as opened:
            inside |= dict.fromkeys(opened.keys(), path.name)
    index = folder / "model.safetensors.index.json"
    if len(files) > 1 or index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else {}
        if listed != inside:
            raise VerificationError(f"the index lists {len(listed)} tensors, the {len(files)} files hold {len(inside)}")
    return sum(path.stat().st_size for path in files)
