"""What a config comes to on this machine: device, dtype, ranks, micro-batch, memory.

Everything that can be known before the weights are read is known here: a device that is not there or a model
that can't fit is a `Problem` now and not an exception after the data was prepared. The estimate is made
from the headers of the model's files, and is on the high side: what is counted stands at `_memory`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastft.core.errors import ConfigError, Problem
from fastft.core.units import format_bytes
from fastft.models.devices import Device
from fastft.models.precision import choose_dtype

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_MOST = 0.8
"""Part of the memory that an estimate may fill; the rest is for the allocator, CUDA's context and the system."""

_PROCESS_BYTES = 850 << 20
"""Resident size of a process with torch, transformers, peft and the data engine loaded, before the model."""
_TRAINED_BYTES = 4 + 8
"""Gradient and the two moments of AdamW of a trained number; others keep fewer."""
_SELF_TEST_TOKENS = 96


@dataclass(frozen=True)
class Place:
    """Which of the processes that train together this one is.

    Attributes:
        rank: over all machines, from 0.
        world: number of processes.
        local_rank: on this machine, from 0.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0


@dataclass(frozen=True)
class Size:
    """A model's measures, from its files' headers and its `config.json`."""

    parameters: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    attention: int
    """Width of all query heads together; in some models not the hidden width."""


@dataclass(frozen=True)
class Plan:
    """A run on this machine; written to `run.json`.

    Attributes:
        device: as torch writes it, for example `cuda:0`.
        dtype: of the frozen weights and of the computing.
        strategy: `single` or `ddp`.
        world: processes that train together.
        rank: which of them this is.
        windows_per_step: windows of one optimizer step, over all ranks.
        micro: windows of one forward pass.
        accumulation: forward passes of one rank in a full step.
        tokens_per_step: at most, over all ranks.
        parameters: of the model, 0 when its files do not say.
        estimated_bytes: memory of one rank at its highest, 0 when unknown.
        memory_bytes: memory that was free.
        steps: optimizer steps of the whole run, None before the data is known.
        timeout_s: how long a rank waits for the others within a step or a save.
        s2_group: tokens of a group of S2 attention, None without it.
    """

    device: str
    device_name: str
    dtype: str
    strategy: Literal["single", "ddp"]
    world: int
    rank: int
    windows_per_step: int
    micro: int
    accumulation: int
    tokens_per_step: int
    parameters: int
    estimated_bytes: int
    memory_bytes: int
    steps: int | None = None
    timeout_s: float = 600.0
    s2_group: int | None = None

    def with_steps(self, steps: int) -> Plan:
        """The same plan, with the length of the run."""
        return dataclasses.replace(self, steps=steps)

    def record(self) -> dict[str, Any]:
        """The plan as one JSON object, the same for each rank."""
        facts = dataclasses.asdict(self)
        del facts["rank"]
        return facts


def measure(folder: Path) -> Size | None:
    """A model's measures without reading its weights; None when the folder does not say."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        config = config.get("text_config", config)
        hidden = int(config["hidden_size"])
        size = Size(
            parameters=sum(_numbers_in(path) for path in sorted(folder.glob("*.safetensors"))),
            hidden=hidden,
            intermediate=int(config.get("intermediate_size") or 4 * hidden),
            layers=int(config["num_hidden_layers"]),
            vocabulary=int(config["vocab_size"]),
            attention=int(config.get("head_dim") or 0) * int(config.get("num_attention_heads") or 0) or hidden,
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a model of an unusual shape: nothing is estimated, and the plan says so with 0
    return size if size.parameters else None


def make_plan(
    config: RunConfig, devices: Sequence[Device], *, place: Place | None = None, size: Size | None = None
) -> Plan:
    """Decide how a config runs here.

    Args:
        config: the run.
        devices: what there is, see `models.devices`.
        place: this process among those that train together.
        size: the model's measures, for the memory.

    Raises:
        ConfigError: with one `Problem` for each thing that this machine can't do.
    """
    import torch

    place = place or Place()
    problems: list[Problem] = []
    windows = _windows(config)
    device = _device(config, devices, place, problems)
    strategy = _strategy(config, place, problems)
    if windows < place.world:
        problems.append(
            Problem(
                "plan.idle-ranks",
                "batch.windows",
                f"a step has {windows} windows for {place.world} processes, so some would never work",
                hint="raise `batch.windows` or `batch.tokens`, or take fewer processes",
            )
        )
    if config.model.dtype == "float16" and config.method.saves == "model":
        problems.append(
            Problem(
                "plan.half-weights",
                "model.dtype",
                "float16 overflows when every weight is trained",
                hint='use `"bfloat16"`, which has the range of float32, or `method.kind = "lora"`',
            )
        )
    name = "cpu" if device.kind == "cpu" else f"cuda:{device.index}"
    dtype = str(choose_dtype(config.model.dtype, torch.device(name))).removeprefix("torch.")
    share = math.ceil(windows / place.world)
    fixed, per_window = _memory(config, size, dtype, device.kind) if size is not None else (0, 0)
    room = int(device.free_bytes * _MOST) // (place.world if device.kind == "cpu" else 1)
    if fixed + per_window > room and size is not None and config.batch.micro is None:
        problems.append(
            Problem(
                "plan.memory",
                "model.path",
                f"the model needs about {format_bytes(fixed + per_window)} for one window of {config.data.max_length:,} tokens, "
                f"and {device.name} has {format_bytes(room)} to give",
                hint="lower `data.max_length`, quantize the model, or set `batch.micro = 1` to try all the same",
            )
        )
    if problems:
        raise ConfigError(problems)
    micro = config.batch.micro or max(1, (room - fixed) // per_window if per_window else 1)
    micro = min(micro, share)
    return Plan(
        device=name,
        device_name=device.name,
        dtype=dtype,
        strategy=strategy,
        world=place.world,
        rank=place.rank,
        windows_per_step=windows,
        micro=micro,
        accumulation=math.ceil(share / micro),
        tokens_per_step=windows * config.data.max_length,
        parameters=size.parameters if size is not None else 0,
        estimated_bytes=fixed + micro * per_window,
        memory_bytes=device.free_bytes,
        steps=config.steps,
        timeout_s=config.strategy.timeout,
        s2_group=config.chosen_s2_group,
    )


def _windows(config: RunConfig) -> int:
    if config.batch.tokens is not None:
        return max(1, config.batch.tokens // config.data.max_length)
    return config.batch.windows or 8


def _device(config: RunConfig, devices: Sequence[Device], place: Place, problems: list[Problem]) -> Device:
    gpus = [device for device in devices if device.kind == "cuda"]
    cpu = next(device for device in devices if device.kind == "cpu")
    if config.device == "cpu" or (config.device == "auto" and not gpus):
        return cpu
    if not gpus:
        problems.append(
            Problem(
                "plan.no-cuda",
                "device",
                "`cuda` is asked for, and torch finds no GPU here",
                hint='use `device = "auto"`; `fastft doctor` shows what torch finds',
            )
        )
        return cpu
    if place.local_rank >= len(gpus):
        problems.append(
            Problem(
                "plan.too-few-gpus",
                "strategy.processes",
                f"process {place.local_rank} of this machine has no GPU: there are {len(gpus)}",
                hint="start one process a GPU",
            )
        )
        return gpus[0]
    return gpus[place.local_rank]


def _strategy(config: RunConfig, place: Place, problems: list[Problem]) -> Literal["single", "ddp"]:
    if config.strategy.kind == "auto":
        return "ddp" if place.world > 1 else "single"
    if config.strategy.kind == "single" and place.world > 1:
        problems.append(
            Problem(
                "plan.single-of-many",
                "strategy.kind",
                f"`single` trains in one process, and {place.world} were started",
                hint='use `strategy.kind = "ddp"` or `"auto"`',
            )
        )
    return config.strategy.kind


def _memory(config: RunConfig, size: Size, dtype: str, kind: str) -> tuple[int, int]:
    """Bytes that are always there, and bytes of one window, for one process on a device of a `kind`.

    Always: on a CPU the process itself; the weights; what is trained, with gradients and moments in float32; the
    chunk of logits, and those of the objective's self test. A window: what each layer keeps for the backward pass,
    and once more what that pass makes anew in a layer. With recomputing a layer keeps its input, and one layer the rest.
    """
    from fastft.ops.linear_cross_entropy import chunk_rows

    width = _BYTES[dtype]
    tokens, hidden, attention, wide = config.data.max_length, size.hidden, size.attention, size.intermediate
    rows = chunk_rows(size.vocabulary, 4, kind, _windows(config) * tokens)
    fixed = size.vocabulary * (rows * (4 + (width if width < 4 else 0)) + _SELF_TEST_TOKENS * 3 * 4)
    if kind == "cpu":
        fixed += _PROCESS_BYTES
    if config.method.saves == "model":
        fixed += size.parameters * (4 + _TRAINED_BYTES + (width if width < 4 else 0))
        fixed += 2 * size.vocabulary * hidden * 4  # the head's gradient is made apart, and added to the embeddings'
    else:
        fixed += int(size.parameters * (0.6 if config.model.quantize is not None else width))
        rank = int(config.method.model_dump().get("rank", 16))  # as if every linear layer were adapted
        adapter = rank * size.layers * (4 * (hidden + attention) + 3 * (hidden + wide))
        fixed += adapter * (4 + _TRAINED_BYTES)
    # The norms work in float32 whatever the rest is in; the counts are those of llama-like layers, measured.
    layer = tokens * (width * (5 * hidden + 6 * attention + 4 * wide) + 4 * 4 * hidden)
    window = (size.layers + 1) * layer
    if config.model.recompute == "full":
        # A CPU's allocator does not give back all that a layer frees before the next one asks: measured, eight layers.
        window = min(window, size.layers * tokens * hidden * width + (9 if kind == "cpu" else 2) * layer)
    return fixed, window


def _numbers_in(path: Path) -> int:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100 << 20:
            raise ValueError("header too large")
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
