"""The road: plan -> data -> model -> method -> objective -> loop -> record."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft import data, models
from fastft.config.dump import dump
from fastft.config.kinds import Parts
from fastft.core.errors import ResourceError
from fastft.core.events import Bus, ModelLoaded, RunEnded, RunStarted, Warned
from fastft.core.paths import alone, cache_folder
from fastft.models.devices import devices
from fastft.run import launch, record, rng, sinks
from fastft.run import resume as _resume
from fastft.run.files import publish
from fastft.run.loop import Loop, total_steps
from fastft.run.plan import Place, Plan, make_plan, measure
from fastft.run.registry import Run, claim
from fastft.run.signals import Signals
from fastft.run.strategies import gather_bytes, open_strategy

if TYPE_CHECKING:
    from torch import nn

    from fastft.config.kinds import Batch
    from fastft.config.schema import RunConfig
    from fastft.core.errors import Origin
    from fastft.data import Batches, Prepared, StreamBatches, Streamed
    from fastft.models import Loaded


def train(
    config: RunConfig,
    *,
    out: Path | None = None,
    resume: str = "auto",
    bus: Bus | None = None,
    origins: Mapping[str, Origin] | None = None,
    source: Path | None = None,
) -> Run:
    """Train what a config says, or go on where an earlier start of it stopped.

    Args:
        config: the run.
        out: the run's folder; by default `runs/<name>/<time>`.
        resume: `auto`, `never`, or a checkpoint; see `run/resume.py`.
        bus: who hears of it; by default the terminal.
        origins: where the config's values were written, for the copy in the run's folder.
        source: the config's file; relative paths in it are looked for beside it, too.

    Returns:
        The finished run.

    Raises:
        FastftError: whose class says what went wrong, see `core/errors.py`; `Preempted` after a signal.
    """
    bus = bus or Bus([sinks.terminal(config.log)])
    job = Job(config, bus, launch.place(), source.parent if source is not None else None)
    with Signals() as signals:
        if count := launch.wanted(config, job.place):
            return _lead(job, count, out, resume, signals, _texts(config, origins, source))
        return road(job, out, resume, signals, _texts(config, origins, source))


@dataclass(frozen=True)
class Job:
    """What the road is walked with.

    Attributes:
        config: the run.
        bus: who hears of it.
        place: this process among those that train together.
        beside: the config file's folder.
    """

    config: RunConfig
    bus: Bus
    place: Place
    beside: Path | None


def road(job: Job, out: Path | None, how: str, signals: Signals, texts: Mapping[str, str]) -> Run:
    """Train in this process, alone or as one of several."""
    import torch

    config = job.config
    launch.check_place(job.place, out)
    with record.opened(config, out=out, how=how, place=job.place, bus=job.bus, texts=texts) as session:
        folder = session.run.path
        if session.start.finished:
            _tell_finished(session.run, session.bus)
            return session.run
        plan = _plan(job)
        rows = _prepare(job, folder if session.leader else None)
        session.note(data={"key": rows.key, "books": rows.books, "sources": rows.sources, "seconds": rows.seconds})
        batches = _batches(job, plan, rows, folder)
        over = _until(config, batches)
        if isinstance(batches, data.StreamBatches) and not batches.known:
            session.note(epoch_estimate=batches.estimate)
        total = total_steps(config, batches.steps_in_epoch)
        session.note_plan(plan, total)

        strategy = open_strategy(plan)
        try:
            if isinstance(batches, data.StreamBatches) and plan.world > 1:
                batches.share(partial(gather_bytes, strategy))
            saved = _resume.agreed(session.start, strategy, out, how)
            if saved is not None:
                _resume.require_same_data(saved, rows.key)
                if over is None:
                    _resume.require_ahead(saved, total)
            begun = time.perf_counter()
            rng.seed_all(rng.derive("start", config.seed))  # new weights are the same on every rank
            loaded = models.load(
                config.model,
                device=torch.device(plan.device),
                dtype=getattr(torch, plan.dtype),
                packed=config.data.packing != "none" or plan.micro > 1,
                s2_group=plan.s2_group,
            )
            model = config.method.attach(loaded.model)
            session.bus.emit(_described(model, loaded, plan, time.perf_counter() - begun))
            loop = Loop(
                config=config,
                plan=plan,
                model=model,
                objective=config.stage.objective(Parts(model, loaded.tokenizer, config, folder)),
                feed=batches,
                strategy=strategy,
                bus=session.bus,
                folder=folder / "checkpoints",
                total=total,
                over=over,
                evaluation=partial(_evaluation, config, plan, rows) if rows.eval is not None else None,
                facts={
                    "config": _resume.values(config),
                    "config_key": _resume.config_key(config),
                    "data_key": rows.key,
                },
                signals=signals,
                progress=session.progress,
            )
            if saved is not None:
                loop.restore(saved)
            session.bus.emit(
                RunStarted(config.name, loop.progress.step, total, str(saved.path) if saved is not None else None)
            )
            with signals.deferred():
                loop.run()
                session.note_plan(plan, loop.total)
                if session.leader:
                    _save_final(config, model, loaded, folder)
                    _plot(session.run)
                    session.ended("finished")
                strategy.barrier()
        finally:
            strategy.close()
    return session.run


def dry_run(config: RunConfig, *, source: Path | None = None, bus: Bus | None = None) -> dict[str, Any]:
    """What `train` would do: config, rows and tokens of each source, steps, plan. Writes to the cache only.

    Raises:
        FastftError: what `train` would raise before it reads the weights.
    """
    count = launch.wanted(config, launch.place())
    job = Job(config, bus or Bus(), Place(0, count) if count else launch.place(), source.parent if source else None)
    plan = _plan(job)
    rows = _prepare(job, None)
    batches = _batches(job, plan, rows, None)
    total = total_steps(config, batches.steps_in_epoch)
    return {
        "config": _resume.values(config),
        "data": {"key": rows.key, "cached": rows.cached, "books": rows.books, "sources": rows.sources},
        "steps_in_epoch": batches.steps_in_epoch(0),
        "steps": total,
        "estimated": isinstance(batches, data.StreamBatches) and not batches.known,
        "plan": plan.with_steps(total).record(),
    }


def _lead(job: Job, count: int, out: Path | None, how: str, signals: Signals, texts: Mapping[str, str]) -> Run:
    """Prepare the data here, before there is any process group, and let workers train."""
    start = _resume.choose(job.config, out, how)
    if start.finished:
        _tell_finished(Run(start.folder), job.bus)
        return Run(start.folder)
    _plan(Job(job.config, job.bus, Place(0, count), job.beside))
    with claim(start.folder):
        _prepare(job, start.folder)
    with signals.deferred():
        launch.workers(
            job.config, start.folder, count, how if how not in ("auto", "never") else "auto", signals, job.beside, texts
        )
    return Run(start.folder)


def _plan(job: Job) -> Plan:
    folder = models.resolve(job.config.model.path, job.config.model.revision)
    return make_plan(job.config, devices(), place=job.place, size=measure(folder))


def _prepare(job: Job, out: Path | None) -> Prepared | Streamed:
    """Prepare the data, or find it: before there is a process group, and once on each machine.

    Of several ranks on a machine one does the work, and the others wait for its lock to find what it made.
    """
    if job.place.world == 1:
        return _prepared(job, out)
    with alone(cache_folder() / "locks" / f"data-{_resume.config_key(job.config)}"):
        return _prepared(job, out)


def _prepared(job: Job, out: Path | None) -> Prepared | Streamed:
    config = job.config
    if config.data.streaming:
        return data.open_stream(
            config.data,
            config.stage,
            models.tokenizer_files(config.model),
            seed=config.seed,
            config_dir=job.beside,
            cache=cache_folder(),
            bus=job.bus if job.place.rank == 0 else Bus(),
        )
    return data.prepare(
        config.data,
        config.stage,
        models.tokenizer_files(config.model),
        seed=config.seed,
        eval_fraction=config.eval.fraction,
        config_dir=job.beside,
        cache=cache_folder(),
        out=out,
        bus=job.bus if job.place.rank == 0 else Bus(),
    )


def _batches(job: Job, plan: Plan, rows: Prepared | Streamed, folder: Path | None) -> Batches | StreamBatches:
    config = job.config
    share: dict[str, Any] = {
        "windows_per_step": plan.windows_per_step,
        "micro": plan.micro,
        "rank": plan.rank,
        "world": plan.world,
    }
    if isinstance(rows, data.Streamed):
        # Ranks hear of each other's rows, so that one list has all.
        ledger_folder = None if folder is None or plan.rank > 0 else folder / "data"
        bus = job.bus if plan.rank == 0 else Bus()
        ledger = data.Ledger(ledger_folder, config.data.max_bad_fraction, bus)
        _tell_lanes(rows.stream, plan.world, config.data.lanes, bus)
        return data.StreamBatches(rows.stream, ledger=ledger, **share)
    if config.data.order == "block":
        order = data.BlockOrder.of(config.data, config.seed)
        return data.StreamBatches(data.Stream(rows.plan, order, store=rows.train), **share)
    return data.Batches(
        rows.train,
        max_length=config.data.max_length,
        packing=config.data.packing,
        seed=config.seed if config.data.seed is None else config.data.seed,
        shuffle=config.data.order != "none",
        **share,
    )


def _tell_lanes(stream: data.Stream, world: int, wanted: int, bus: Bus) -> None:
    """Warn where ranks make the same tokens: of lanes that are less because there is little data, nobody can have more."""
    makers = world // data.parts(stream.lanes, world)
    if makers > 1 and stream.lanes == wanted:
        bus.emit(
            Warned(
                "data.lanes",
                f"{makers} of {world} ranks make the same tokens each, as {wanted} lanes can't be shared evenly",
                hint=f"set `data.lanes = {-(-wanted // world) * world}`, which changes the order of the rows",
            )
        )


def _until(config: RunConfig, batches: Batches | StreamBatches) -> Callable[[], bool] | None:
    """Whether the run is over, where that is known only when the data ends."""
    if config.steps is not None or isinstance(batches, data.Batches) or batches.known:
        return None
    return partial(batches.reached, config.epochs)


def _evaluation(config: RunConfig, plan: Plan, rows: Prepared | Streamed) -> Iterable[Batch]:
    assert rows.eval is not None
    return data.evaluation_batches(
        rows.eval,
        max_length=config.data.max_length,
        packing=config.data.packing,
        micro=plan.micro,
        rank=plan.rank,
        world=plan.world,
    )


def _described(model: nn.Module, loaded: Loaded, plan: Plan, seconds: float) -> ModelLoaded:
    parameters = list(model.parameters())
    return ModelLoaded(
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        model_bytes=sum(p.numel() * p.element_size() for p in parameters),
        dtype=plan.dtype,
        device=plan.device_name,
        attention=loaded.attention + (f" in groups of {plan.s2_group:,} tokens" if plan.s2_group else ""),
        seconds=seconds,
        fused=loaded.fused,
    )


def _save_final(config: RunConfig, model: nn.Module, loaded: Loaded, folder: Path) -> None:
    """Write what was trained; it appears whole, as `final/`.

    Raises:
        ResourceError: when the disk refuses; the last checkpoint is whole, and nothing half-written stays.
    """
    from safetensors import SafetensorError

    for left in (*folder.glob(".tmp-final-*"), *folder.glob(".old-final-*")):  # of a start that was killed here
        shutil.rmtree(left, ignore_errors=True)
    temporary = folder / f".tmp-final-{secrets.token_hex(4)}"
    try:
        temporary.mkdir()
        models.save_trained(model, config.method, temporary, tokenizer=loaded.tokenizer)
        publish(temporary, folder / "final")
    except (OSError, SafetensorError) as error:  # safetensors has a class of its own for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        raise ResourceError(
            f"`{folder / 'final'}` could not be written: {getattr(error, 'strerror', None) or error}",
            hint="make room; the same command goes on from the last checkpoint, which is whole",
            code="run.final-failed",
        ) from error


def _tell_finished(run: Run, bus: Bus) -> None:
    step = run.record["progress"]["step"]
    bus.emit(RunEnded("finished", step, 0.0, message=f"`{run.path}` is finished already; nothing was trained"))


def _plot(run: Run) -> None:
    evaluations = [event for event in run.events if event["event"] == "evaluated"]
    sinks.plot(run.history, evaluations, run.path / "loss.png")


def _texts(config: RunConfig, origins: Mapping[str, Origin] | None, source: Path | None) -> dict[str, str]:
    """The config as it came to be, with the origins of its values, and as it was given."""
    texts = {"config.toml": dump(config, origins)}
    if source is not None:
        texts["config.input.toml"] = source.read_text(encoding="utf-8")
    return texts
