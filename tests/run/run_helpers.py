"""A tiny model, windows of random tokens and a loop over them, for the tests of `fastft.run`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastft.config.kinds import Batch, Loss
from fastft.config.schema import RunConfig
from fastft.core.events import Bus, Event
from fastft.models.devices import Device
from fastft.run import rng
from fastft.run.loop import Loop
from fastft.run.plan import Place, make_plan
from fastft.run.strategies import open_strategy

CPU = Device("cpu", 0, "CPU", 8 << 30, 8 << 30)
VOCABULARY = 97


def config(**changes: Any) -> RunConfig:
    """A run of 6 steps of 4 windows; `changes` are dotted keys with `__` for the dot."""
    tree: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "steps": 6,
        "model": {"path": "tiny"},
        "data": {"train": [{"path": "rows.jsonl"}], "max_length": 32},
        "stage": {"kind": "sft"},
        "method": {"kind": "full"},
        "optimizer": {"kind": "adamw", "lr": 1e-2},
        "schedule": {"kind": "cosine"},
        "batch": {"windows": 4, "micro": 2},
        "checkpoint": {"every": 2, "keep": 2},
        "log": {"tensorboard": False},
        "device": "cpu",
    }
    for key, value in changes.items():
        *path, name = key.split("__")
        table = tree
        for part in path:
            table = table.setdefault(part, {})
        table[name] = value
    return RunConfig.model_validate(tree)


class Model(nn.Module):
    """Predicts the next token from this one; has dropout, so that a forgotten random state shows."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.inner = nn.Linear(16, 16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, VOCABULARY, bias=False)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.dropout(torch.tanh(self.inner(self.embedding(ids)))))
        return logits


class Objective:
    """Cross entropy over the targets, and how often the best guess is right."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        logits = model(batch.input_ids)[0]
        total = nn.functional.cross_entropy(logits, batch.targets[0], ignore_index=-100, reduction="sum")
        right = (logits.argmax(-1) == batch.targets[0]).sum()
        return Loss(total, batch.num_targets, {"accuracy": right})


class Feed:
    """`fastft.data.Batches` over windows of different lengths that come from nothing but the seed.

    11 windows, 4 a step: the third step of an epoch is ragged.
    """

    def __init__(self, *, windows_per_step: int = 4, micro: int = 2, rank: int = 0, world: int = 1) -> None:
        self.windows_per_step, self.micro, self.rank, self.world = windows_per_step, micro, rank, world
        self.windows = [_window(index) for index in range(11)]
        self.place = 0

    def steps_in_epoch(self, epoch: int) -> int:
        return -(-len(self.windows) // self.windows_per_step)

    @property
    def epoch(self) -> float:
        return self.place / self.steps_in_epoch(0)

    def next_step(self) -> list[Batch]:
        epoch, step = divmod(self.place, self.steps_in_epoch(0))
        self.place += 1
        order = list(range(len(self.windows)))
        random.Random(epoch).shuffle(order)
        taken = order[step * self.windows_per_step : (step + 1) * self.windows_per_step]
        groups = [taken[start : start + self.micro] for start in range(0, len(taken), self.micro)]
        return [self._batch(group) for group in groups[self.rank :: self.world]]

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def merged(self, states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return dict(states[0])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]

    def _batch(self, group: list[int]) -> Batch:
        ids = torch.cat([self.windows[index] for index in group])
        targets = torch.cat([torch.cat([self.windows[i][1:], torch.tensor([-100])]) for i in group])
        lengths = torch.tensor([0, *(len(self.windows[index]) for index in group)])
        return Batch(
            ids[None],
            targets[None],
            torch.cat([torch.arange(len(self.windows[index])) for index in group])[None],
            lengths.cumsum(0).int(),
            int(lengths.max()),
            int((targets != -100).sum()),
            tuple(group),
        )


def _window(index: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(index)
    return torch.randint(0, VOCABULARY, (5 + 2 * index,), generator=generator)


class Heard:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def loop(run: RunConfig, folder: Path, *, dropout: float = 0.1, **changes: Any) -> tuple[Loop, Heard]:
    """A loop in `folder` over a model whose first weights depend on the seed only."""
    place = changes.pop("place", Place())
    rng.seed_all(run.seed)
    model = Model(dropout)
    plan = make_plan(run, [CPU], place=place)
    heard = Heard()
    parts: dict[str, Any] = {
        "config": run,
        "plan": plan,
        "model": model,
        "objective": Objective(),
        "feed": Feed(windows_per_step=plan.windows_per_step, micro=plan.micro, rank=place.rank, world=place.world),
        "strategy": changes.pop("strategy", None) or open_strategy(plan),
        "bus": Bus([heard]),
        "folder": folder,
        "total": run.steps,
        "facts": {"config": run.model_dump(mode="json"), "config_key": "c", "data_key": "d"},
    }
    return Loop(**{**parts, **changes}), heard


def weights(of: Loop) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in of.model.named_parameters()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
