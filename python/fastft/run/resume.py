"""Which folder a run gets and where in it training begins: anew, or where an earlier start stopped.

    --resume auto --out DIR    go on from DIR's newest valid checkpoint, if it has one; else begin
    --resume auto              go on with the newest unfinished run of the same name and the very same config; else a new folder
    --resume never             begin; DIR must not hold a run
    --resume PATH              go on from that checkpoint (or that run's newest), in its own run's folder or in DIR

A checkpoint is used only by the run that it belongs to: what decides the result must be as it was. What may change
is in `MAY_CHANGE`.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core.errors import ResumeError
from fastft.core.paths import runs_folder, writing
from fastft.run import checkpoint, registry

if TYPE_CHECKING:
    from fastft.config.schema import RunConfig
    from fastft.run.strategies import Strategy

MAY_CHANGE = (
    r"name",
    r"epochs|steps",  # the schedule follows
    r"optimizer\.lr",
    r"log\..*|checkpoint\..*|eval\.every",
    r"strategy\..*|device|batch\.micro",  # how the work is laid out, not what it is
    r"model\.(attention|recompute)",
    r"data\.(threads|on_bad|max_bad_fraction)",
    r"data\.(train|eval)\[\d+\]\.(path|name|ignore\[\d+\])",  # a file may move; its content is in the data key
)
_DATA_FILES = ("manifest.json", "rejected.jsonl", "left_out.jsonl", "books.json")
"""What preparing writes into a run's `data` before there is a record."""
_LEFT_BEHIND = re.compile(r"\.lock|config(\.input)?\.toml|\.(config(\.input)?\.toml|run\.json)\..*\.tmp")
"""What a start writes before the record is there."""
_SYSTEM = ("lost+found",)
_MAY_CHANGE = re.compile("|".join(f"(?:{pattern})" for pattern in MAY_CHANGE))


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        folder: the run's.
        saved: the checkpoint to go on from; None is step 0.
        finished: whether there is nothing left to do.
    """

    folder: Path
    saved: checkpoint.Checkpoint | None = None
    finished: bool = False


def values(config: RunConfig) -> dict[str, Any]:
    """The config as JSON values, defaults filled in."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return dumped


def config_key(config: RunConfig) -> str:
    """A hash of every value of the config."""
    return hashlib.sha256(json.dumps(values(config), sort_keys=True).encode()).hexdigest()[:16]


def choose(config: RunConfig, out: Path | None, resume: str, log: Callable[[str], None] = lambda text: None) -> Start:
    """Decide folder and first step.

    Args:
        config: the run.
        out: the folder asked for.
        resume: `auto`, `never`, or the path of a checkpoint or run.
        log: is told what was set aside, and what has changed and may.

    Raises:
        ResumeError: when the checkpoint that would be used belongs to another run, with the differences.
    """
    if resume == "never":
        if out is not None and registry.is_run(out):
            raise ResumeError(
                f"`{out}` holds a run, and `--resume never` does not write over one",
                hint="choose another `--out`, or leave `--resume` out to go on with it",
            )
        return Start(_free(out) if out is not None else _new_folder(config))
    if resume != "auto":
        return _from(Path(resume), config, out, log)
    folder = out or _unfinished(config)
    if folder is None:
        return Start(_new_folder(config))
    if not registry.is_run(folder):
        return Start(_free(folder))
    run, saved = registry.Run(folder), _newest(folder, log)
    if saved is None and run.status != "finished":
        return Start(folder)  # nothing was learnt there yet, so a repaired config may take the folder over
    require_same(run.record["config"], values(config), folder)
    if finished(config, folder):
        return Start(folder, finished=True)
    for key, old, new in _told(run.record["config"], values(config)):
        log(f"`{key}` was {_show(old)} and is {_show(new)} from here on")
    return Start(folder, saved)


def finished(config: RunConfig, folder: Path) -> bool:
    """Whether the run in `folder` is as long as the config asks, and has its result."""
    if not registry.is_run(folder):
        return False
    run = registry.Run(folder)
    record, now = run.record, values(config)
    same = all(record["config"][key] == now[key] for key in ("epochs", "steps"))
    return bool(record["status"] == "finished" and same and run.final.is_dir())


def agreed(start: Start, strategy: Strategy, out: Path | None, how: str) -> checkpoint.Checkpoint | None:
    """The checkpoint that all ranks go on from: the one that rank 0 chose; None is step 0.

    Raises:
        ResumeError: when this rank does not see what rank 0 sees.
    """
    mine = start.saved.step if strategy.rank == 0 and start.saved is not None else 0
    step = int(strategy.sum([float(mine)])[0])
    if strategy.rank == 0 or step == 0:
        return start.saved if step else None
    path = Path(how)
    home = out if how in ("auto", "never") or out is None else path if registry.is_run(path) else path.parent.parent
    assert home is not None  # a cluster without a folder was refused
    try:
        return checkpoint.load(home / "checkpoints" / f"step-{step:08d}")
    except ValueError as error:
        raise ResumeError(
            f"rank {strategy.rank} can't read the checkpoint of step {step} that rank 0 goes on from: {error}",
            hint="`--out` must be on a disk that all processes see",
        ) from None


def require_same(saved: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on when a value that decides the result has changed.

    Raises:
        ResumeError: with one line for each such value.
    """
    changed = differences(saved, now)
    if changed:
        lines = "\n".join(f"  {key}: {_show(old)} -> {_show(new)}" for key, old, new in changed)
        raise ResumeError(
            f"`{where}` belongs to another run; {len(changed)} value{'s' * (len(changed) > 1)} changed:\n{lines}",
            hint="change them back to go on, or begin anew with another `--out`",
        )


def require_same_data(saved: checkpoint.Checkpoint, key: str) -> None:
    """Refuse to go on when the rows, the tokenizer or the template have changed.

    Raises:
        ResumeError: with both keys.
    """
    old = saved.json("trainer")["data_key"]
    if old != key:
        raise ResumeError(
            f"the data is not what `{saved.path.name}` was trained on: rows, tokenizer or template changed "
            f"(key {old[:12]} -> {key[:12]})",
            hint="bring the old files back to go on, or begin anew with another `--out`",
        )


def require_ahead(saved: checkpoint.Checkpoint, total: int) -> None:
    """Refuse to make a run shorter than it is: its result would not be that of so many steps.

    Raises:
        ResumeError: with both lengths.
    """
    if saved.step > total:
        raise ResumeError(
            f"`{saved.path.name}` is after step {saved.step}, and the run is to have {total} steps",
            hint="ask for more steps, name an earlier checkpoint with `--resume`, or begin anew with another `--out`",
        )


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What decides the result and has changed: key, value then, value now; `None` for an absent one."""
    old, new = dict(_flat(saved)), dict(_flat(now))
    keys = [*new, *(key for key in old if key not in new)]
    return [
        (key, old.get(key), new.get(key))
        for key in keys
        if old.get(key) != new.get(key) and not _may_change(key, old.get(key), new.get(key))
    ]


def _may_change(key: str, old: Any, new: Any) -> bool:
    # Other implementations of attention compute the same, S2 does not.
    return bool(_MAY_CHANGE.fullmatch(key)) and not (key == "model.attention" and "s2" in (old, new))


def _told(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What may change and still alters the rest of the run: its length, with the schedule, and the learning rate."""
    old, new = dict(_flat(saved)), dict(_flat(now))
    return [
        (key, old.get(key), new.get(key)) for key in ("epochs", "steps", "optimizer.lr") if old.get(key) != new.get(key)
    ]


def _from(path: Path, config: RunConfig, out: Path | None, log: Callable[[str], None]) -> Start:
    """Go on from a named checkpoint, or from the newest of a named run."""
    if registry.is_run(path):
        saved = _newest(path, log)
        if saved is None:
            raise ResumeError(f"`{path}` has no checkpoint that is whole")
    else:
        try:
            saved = checkpoint.load(path)
        except ValueError as error:
            raise ResumeError(
                f"`{path}` is no checkpoint that can be used: {error}",
                hint="`--resume` takes `auto`, `never`, a run or a folder `checkpoints/step-...`",
            ) from None
    require_same(saved.json("trainer")["config"], values(config), saved.path)
    own = saved.path.resolve().parent.parent
    folder = out or own
    if folder.resolve() == own:
        # The run's future is what is trained now; what was saved after this point belongs to another one.
        for later in checkpoint.find(own / "checkpoints"):
            if later.step > saved.step:
                log(f"`{later.path.name}` is after `{saved.path.name}`; moved to `{checkpoint.set_aside(later.path)}`")
    elif registry.is_run(folder):
        raise ResumeError(f"`{folder}` holds another run", hint="choose an empty folder for `--out`")
    else:
        _free(folder)
    return Start(folder, saved)


def _newest(folder: Path, log: Callable[[str], None]) -> checkpoint.Checkpoint | None:
    return checkpoint.latest(folder / "checkpoints", log=log)


def _unfinished(config: RunConfig) -> Path | None:
    """The newest run of this name and this very config that is not finished and that nobody trains now."""
    key = config_key(config)
    for run in registry.list_runs():
        record = run.record
        if record["name"] == config.name and record["config_key"] == key and record["status"] != "finished":
            if not registry.locked(run.path):
                return run.path
        elif record["name"] == config.name and record["config_key"] == key:
            return None  # the newest is finished: the same words again mean a new run
    return None


def _new_folder(config: RunConfig) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return runs_folder() / config.name / f"{now}-{secrets.token_hex(3)}"


def _free(folder: Path) -> Path:
    """The folder, if a new run may take it: there is nothing in it but what a start that came to nothing left.

    Raises:
        ResumeError: naming a file that belongs to someone else.
        ResourceError: it can't be looked into.
    """
    with writing(folder):
        if folder.exists():
            begun = (folder / registry.LOCK).is_file()
            for path in sorted(folder.iterdir()):
                if foreign := _foreign(path, begun):
                    raise ResumeError(
                        f"`{folder}` is no run (it has no `{registry.RECORD}`), and holds `{foreign.relative_to(folder)}`",
                        hint="choose a new or empty folder for `--out`, or move what is in it elsewhere",
                    )
    return folder


def _foreign(path: Path, begun: bool) -> Path | None:
    """What of a folder's entry no start of a run leaves behind, if anything; without its lock none has begun there."""
    if path.is_dir() and not path.is_symlink():
        if begun and path.name == "data":
            return next((inside for inside in sorted(path.iterdir()) if inside.name not in _DATA_FILES), None)
        empty = not any(path.iterdir())
        return None if path.name in _SYSTEM or (empty and path.name in ("final", "checkpoints")) else path
    return None if begun and _LEFT_BEHIND.fullmatch(path.name) else path


def _flat(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [pair for name, item in value.items() for pair in _flat(item, f"{key}.{name}" if key else name)]
    if isinstance(value, list):
        return [pair for index, item in enumerate(value) for pair in _flat(item, f"{key}[{index}]")]
    return [(key, value)]


def _show(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
