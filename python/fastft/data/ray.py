"""The same preparation on a Ray cluster: shards as tasks, failed ones again, one commit at the end.

Workers have to see the data, the tokenizer and the cache under the paths that this machine sees them under.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import ResourceError
from fastft.core.events import Bus, DataProgress
from fastft.core.need import need
from fastft.data import shards

if TYPE_CHECKING:
    from fastft.config.kinds import TokenizerFiles
    from fastft.config.schema import RunConfig

_RETRIES = 3
_LOOK_S = 1.0


def prepare_on_ray(
    config: RunConfig,
    tokenizer: TokenizerFiles,
    *,
    config_dir: Path | None,
    address: str | None = None,
    num_shards: int | None = None,
    bus: Bus,
) -> int:
    """Prepare the data of a config into the cache, from which `prepare` then takes it.

    Args:
        config: the run.
        tokenizer: makes ids.
        config_dir: where relative paths are looked for when the working directory has no such file.
        address: of the cluster; None is the one that RAY_ADDRESS names, or a new one on this machine.
        num_shards: how many tasks; by default four for each CPU of the cluster, at most one a unit.
        bus: hears of progress.

    Returns:
        How many shards there were.

    Raises:
        UnsupportedError: ray is not installed.
        ResourceError: a shard failed again and again.
    """
    ray = need("ray", extra="ray", what="`--on ray`")
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    parent = paths.cache_folder() / "shards"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"ray-{time.time_ns():x}"
    try:
        units = shards.plan(config, tokenizer, folder, config_dir=config_dir, bus=bus)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = min(num_shards or 4 * cpus, max(units, 1))
        _run_all(ray, folder, count, tokenizer, bus)
        shards.commit(shards.Job.read(folder))
    finally:
        shards.discard(folder)  # the cache has links to what is in it
        if started:
            ray.shutdown()
    return count


def _run_all(ray: Any, folder: Path, count: int, tokenizer: TokenizerFiles, bus: Bus) -> None:
    task = ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=[OSError, ResourceError])(_shard)
    waiting = {task.remote(folder, index, count, tokenizer): index for index in range(count)}
    begin, rows, tokens, size = time.monotonic(), 0, 0, 0
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=_LOOK_S)
        for each in done:
            index = waiting.pop(each)
            try:
                counted = ray.get(each)
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from error
            except ray.exceptions.RayError as error:
                raise ResourceError(
                    f"shard {index} of {count} was lost {_RETRIES + 1} times: {str(error).splitlines()[0]}",
                    hint="what is done stays in the shard's folder; look at the cluster's logs",
                    code="resource.ray",
                ) from error
            rows, tokens, size = rows + counted[0], tokens + counted[1], size + counted[2]
        total = size * count // max(count - len(waiting), 1)
        bus.emit(
            DataProgress(rows=rows, tokens=tokens, bytes_read=size, total_bytes=total, seconds=time.monotonic() - begin)
        )


def _shard(folder: Path, index: int, count: int, tokenizer: TokenizerFiles) -> tuple[int, int, int]:
    """Do a shard on a worker: rows, tokens and bytes of it."""
    now, before = shards.run(shards.Job.read(folder), tokenizer, index, count, bus=Bus([]))
    done = now + before
    return done.rows, done.tokens, done.bytes
