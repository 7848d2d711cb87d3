"""The training loop: every optimizer step of a run, upon a strategy.

    gradient of a step = sum over its micro-batches on all ranks of d(Loss.total) / (sum of Loss.weight)

so neither the size of a micro-batch nor the number of ranks changes what is learnt. A loss or gradient
that is not finite ends the run before the step is applied. A signal ends it after a step, saved.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastft.core.errors import DivergedError, Preempted, ResourceError
from fastft.core.events import Bus, Evaluated, Saved, StepEnded, Warned
from fastft.run import checkpoint, rng, state
from fastft.run.files import DISK, Files
from fastft.run.signals import Signals
from fastft.run.strategies import gather_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fastft.config.kinds import Batch, Objective
    from fastft.config.schema import RunConfig
    from fastft.run.plan import Plan
    from fastft.run.strategies import Strategy


_ESTIMATE_OFF = 0.03
"""Part of the steps that an estimate may be wrong by before a warning says so."""


class Feed(Protocol):
    """What the loop asks of the data: `fastft.data.Batches`."""

    @property
    def epoch(self) -> float:
        """How often the data was seen."""

    def next_step(self) -> list[Batch]:
        """The micro-batches of this rank for the next optimizer step."""

    def state_dict(self) -> dict[str, Any]:
        """The place in the data, as JSON."""

    def merged(self, states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The place in the data of all ranks together."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps done.
        tokens: ids that entered the model, over all ranks.
        trained_tokens: those with a loss.
        seconds: spent in steps, over all starts of the run.
        loss: of the last step.
        eval_loss: of the last evaluation.
        best_loss: of the best evaluation.
        owed: whether a signal broke off the evaluation of this step.
    """

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    loss: float | None = None
    eval_loss: float | None = None
    best_loss: float | None = None
    owed: bool = False


@dataclass
class Loop:
    """One run's loop; `restore` puts it where a checkpoint was, `run` goes to the end.

    Attributes:
        total: optimizer steps of the whole run; with `over` about so many, and exact when the run is over.
        over: whether the run is, where only the data's end tells.
        evaluation: gives this rank's evaluation batches anew at each call; None without evaluation rows.
        facts: what a checkpoint says of its run: `config`, `config_key`, `data_key`.
        folder: where checkpoints go.
        files: the disk that checkpoints are written to.
    """

    config: RunConfig
    plan: Plan
    model: nn.Module
    objective: Objective
    feed: Feed
    strategy: Strategy
    bus: Bus
    folder: Path
    total: int
    over: Callable[[], bool] | None = None
    evaluation: Callable[[], Iterable[Batch]] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    signals: Signals = field(default_factory=Signals)
    files: Files = DISK
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        import torch

        self._device = torch.device(self.plan.device)
        self._parameters = state.trained(self.model)
        self._optimizer = self.config.optimizer.build(list(self._parameters.items()))
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._schedule = self.config.schedule or _default_schedule()
        self._metrics: tuple[str, ...] | None = None
        self._saved_step: int | None = None
        self._expected = self.total

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint: weights, optimizer, place in the data, random generators.

        Raises:
            ResumeError: when it holds other weights than this run trains.
        """
        trainer = saved.json("trainer")
        state.load_weights(self.model, saved.tensors("trained"))
        state.load_optimizer(self._optimizer, self._parameters, saved.json("optimizer"), saved.tensors("optimizer"))
        self.feed.load_state_dict(trainer["data"])
        for name, value in trainer["progress"].items():
            setattr(self.progress, name, value)
        self._saved_step = saved.step
        mine = f"{self.strategy.rank}/"
        random = {name.removeprefix(mine): t for name, t in saved.tensors("random").items() if name.startswith(mine)}
        if random:  # a rank that the saved run did not have keeps its fresh seed
            rng.restore(random)

    def run(self) -> Progress:
        """Train to the last step and save.

        Raises:
            DivergedError: a loss, gradient or weight is not finite; the step was not applied.
            Preempted: a signal asked to stop; the checkpoint of the last step is durable.
            ResourceError: a checkpoint can't be written.
        """
        self.strategy.prepare(self.model)
        self.model.train()
        if self.progress.owed:
            score = self._evaluate()
            if self.progress.owed:
                raise self._preempted()
            self._note_score(score)
        while not self._is_over():
            self._step()
            last = self._is_over()
            score = self._evaluate() if self._due(self.config.eval.every, last) else None
            # Asked of all ranks together: a signal may have reached only some of them.
            stop = self.strategy.sum([float(self.signals.received is not None)])[0] > 0
            if self._due(self.config.checkpoint.every, last or stop):
                self._save(score)
            if stop and (not last or self.progress.owed):
                raise self._preempted()
        self._tell_length()
        return self.progress

    def _is_over(self) -> bool:
        return self.progress.step >= self.total if self.over is None else self.over()

    def _stretch(self) -> None:
        """Where only the data's end tells the last step, correct `total` by the step whose batches were just drawn."""
        if self.over is not None:
            step = self.progress.step + 1
            self.total = step if self.over() else max(self._expected, step + 1)

    def _tell_length(self) -> None:
        step = self.progress.step
        if self.over is not None and abs(step - self._expected) > max(1, _ESTIMATE_OFF * step):
            self.bus.emit(
                Warned(
                    "run.length-estimate",
                    f"the rows came to {step:,} steps, and {self._expected:,} were expected from a part of them: each "
                    "row was used, but the learning rate followed the expected number",
                    hint='with `data.streaming = false` and `data.shuffle = "block"` the number is exact',
                )
            )

    def _preempted(self) -> Preempted:
        return Preempted(
            f"{self.signals.received or 'a signal to another rank'} stopped the run after step "
            f"{self.progress.step} of {self.total}; it is saved",
            hint="the same command goes on from there",
        )

    def _due(self, every: int, now: bool) -> bool:
        return now or (every > 0 and self.progress.step % every == 0)

    def _step(self) -> None:
        """One optimizer step: gradients of all micro-batches, clipped, applied, told."""
        import torch

        progress, begun = self.progress, time.perf_counter()
        rng.seed_step(self.config.seed, progress.step, self.strategy.rank)
        batches = self.feed.next_step()
        self._stretch()
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        metrics: dict[str, torch.Tensor] = {}
        weight = 0.0
        for batch in batches:
            loss = self.objective.loss(self.model, batch.to(self._device))
            loss.total.backward()  # type: ignore[no-untyped-call]
            total += loss.total.detach()
            weight += loss.weight
            for name, value in loss.metrics.items():
                metrics[name] = metrics.get(name, 0) + value.detach()
        parameters = list(self._parameters.values())
        self.strategy.sum_gradients(parameters)
        names = self._metric_names(metrics)
        counts = [
            float(weight),
            float(sum(b.input_ids.numel() for b in batches)),
            float(sum(b.num_targets for b in batches)),
        ]
        sums = self.strategy.sum([float(total), *counts, *(float(metrics.get(name, 0.0)) for name in names)])
        weights = sums[1] or 1.0  # of weighted messages less than 1 can be all
        mean, norm = sums[0] / weights, self._clip(parameters, weights)
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise self._diverged(mean, norm, batches)
        lr = self._set_rate()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

        seconds = time.perf_counter() - begun
        progress.step += 1
        progress.tokens += int(sums[2])
        progress.trained_tokens += int(sums[3])
        progress.seconds += seconds
        progress.loss = mean
        self.bus.emit(
            StepEnded(
                step=progress.step,
                total_steps=self.total,
                epoch=round(self.feed.epoch, 6),
                loss=mean,
                lr=lr,
                grad_norm=norm,
                tokens=int(sums[2]),
                trained_tokens=int(sums[3]),
                seconds=seconds,
                tokens_per_second=sums[2] / seconds,
                memory_bytes=_memory(self._device),
                metrics={name: value / weights for name, value in zip(names, sums[4:], strict=True)},
            )
        )

    def _clip(self, parameters: Sequence[nn.Parameter], weight: float) -> float:
        """Divide the gradients by the step's weight and bound their norm; returns the norm before the bound."""
        import torch

        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return 0.0
        norm = float(torch.nn.utils.get_total_norm(gradients)) / weight
        bound = self.config.max_grad_norm
        scale = min(1.0, bound / (norm + 1e-6)) if bound > 0 else 1.0
        if math.isfinite(norm):
            torch._foreach_mul_(gradients, scale / weight)
        return norm

    def _set_rate(self) -> float:
        factor = self._schedule.factor(self.progress.step, self.total)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        return float(self._peaks[0] * factor)

    def _evaluate(self) -> float | None:
        """The mean loss over the evaluation rows; weights and random generators of training are left alone.

        A signal breaks it off on all ranks, since whoever sent it may not wait for thousands of rows: the result is
        None, and the start that goes on from here begins with it.
        """
        import torch

        if self.evaluation is None:
            return None
        begun = time.perf_counter()
        total, weight = 0.0, 0.0
        self.model.eval()
        with torch.no_grad():
            for batch in self.evaluation():
                if self.signals.received is not None:
                    break
                loss = self.objective.loss(self.model, batch.to(self._device))
                total += float(loss.total)
                weight += loss.weight
        self.model.train()
        sums = self.strategy.sum([total, float(weight), float(self.signals.received is not None)])
        self.progress.owed = sums[2] > 0
        if self.progress.owed:
            return None
        mean = sums[0] / (sums[1] or 1.0)
        if not math.isfinite(mean):
            raise DivergedError(f"the evaluation after step {self.progress.step} has the loss {mean}")
        progress = self.progress
        progress.eval_loss = mean
        progress.best_loss = mean if progress.best_loss is None else min(mean, progress.best_loss)
        self.bus.emit(Evaluated(progress.step, mean, int(sums[1]), time.perf_counter() - begun))
        return mean

    def _note_score(self, score: float | None) -> None:
        """Enter a score into the checkpoint that was made without: the best one is kept by it."""
        saved = self.folder / f"step-{self.progress.step:08d}"
        if self.strategy.rank != 0 or score is None or not saved.is_dir():
            return
        try:
            checkpoint.note_score(saved, score, self.files)
        except OSError as error:
            self.bus.emit(Warned("run.score", f"`{saved}` has no score: {error.strerror or error}"))

    def _save(self, score: float | None) -> None:
        """Make a checkpoint of now; rank 0 writes, and all ranks know whether it succeeded."""
        if self._saved_step == self.progress.step:
            return
        begun = time.perf_counter()
        state.require_finite(self._parameters, self.progress.step)
        generators = {name: self.strategy.gather(tensor) for name, tensor in rng.capture().items()}
        place = self._place()
        failure: ResourceError | None = None
        if self.strategy.rank == 0:
            document, moments = state.optimizer_state(self._optimizer, self._parameters)
            trainer = {
                "progress": self.progress.__dict__,
                "data": place,
                "total_steps": self.total,
                **self.facts,
            }
            random = {f"{rank}/{name}": tensor for name, each in generators.items() for rank, tensor in enumerate(each)}
            try:
                saved = checkpoint.write(
                    self.folder,
                    self.progress.step,
                    {"trainer": trainer, "optimizer": document},
                    {"trained": self._parameters, "optimizer": moments, "random": random},
                    facts={"world": self.strategy.world, **_keys(self.facts)},
                    score=score,
                    files=self.files,
                )
                self.bus.emit(Saved(saved.step, str(saved.path), saved.bytes, time.perf_counter() - begun))
                self._rotate()
            except ResourceError as error:
                failure = error
        if self.strategy.sum([float(failure is not None)])[0] > 0:
            raise failure or ResourceError("rank 0 could not write the checkpoint", code="run.checkpoint-failed")
        self._saved_step = self.progress.step

    def _place(self) -> dict[str, Any]:
        """The place in the data: of a stream, each rank knows the lanes that it makes."""
        mine = self.feed.state_dict()
        if self.strategy.world == 1:
            return mine
        everyone = gather_bytes(self.strategy, json.dumps(mine).encode())
        return self.feed.merged([json.loads(text) for text in everyone])

    def _rotate(self) -> None:
        try:
            checkpoint.rotate(self.folder, self.config.checkpoint.keep, self.files)
        except OSError as error:
            self.bus.emit(Warned("run.rotate", f"an old checkpoint could not be deleted: {error}"))

    def _metric_names(self, metrics: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the objective's metrics; a rank without a micro-batch learns them from the others."""
        if self._metrics is None:
            import torch

            text = "\n".join(sorted(metrics)).encode()[:1024]
            mine = torch.zeros(1024, dtype=torch.uint8)
            mine[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
            known = {bytes(each.tolist()).rstrip(b"\0").decode() for each in self.strategy.gather(mine)}
            self._metrics = tuple(name for name in max(known, key=len).split("\n") if name)
        return self._metrics

    def _diverged(self, loss: float, norm: float, batches: Sequence[Batch]) -> DivergedError:
        """The error that ends the run, naming the windows of the step on all ranks."""
        import torch

        mine = torch.full((self.plan.windows_per_step,), -1, dtype=torch.int64)
        windows = [window for batch in batches for window in batch.windows][: self.plan.windows_per_step]
        mine[: len(windows)] = torch.tensor(windows, dtype=torch.int64)
        everyone = sorted({int(w) for each in self.strategy.gather(mine) for w in each.tolist() if w >= 0})
        shown = ", ".join(map(str, everyone[:16])) + (", ..." if len(everyone) > 16 else "")
        return DivergedError(
            f"step {self.progress.step + 1} has the loss {loss} and the gradient norm {norm}; it was not applied "
            f"(windows {shown})",
            hint="lower `optimizer.lr` or look at the rows of these windows; the checkpoint before is whole",
        )


def total_steps(config: RunConfig, steps_in_epoch: Callable[[int], int]) -> int:
    """Optimizer steps of a run: `steps`, else those of `epochs`, of which the last may be a part."""
    if config.steps is not None:
        return config.steps
    whole = int(config.epochs)
    part = config.epochs - whole
    return sum(steps_in_epoch(epoch) for epoch in range(whole)) + (
        math.ceil(part * steps_in_epoch(whole) - 1e-9) if part else 0
    )


def _keys(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name.endswith("_key")}


def _default_schedule() -> Any:
    from fastft.config.kinds import SCHEDULES

    cosine = SCHEDULES.get("cosine")
    assert cosine is not None
    return cosine.model_validate({"warmup": 0.03})


def _memory(device: torch.device) -> int:
    """Highest bytes held: of the GPU's allocator, or of the process."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return 0  # Windows
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
