"""Do one shard of what was planned."""

from __future__ import annotations

import re
from pathlib import Path

import click

from fastft.cli import console
from fastft.cli.data.progress import Progress
from fastft.core import env
from fastft.core.events import Bus
from fastft.core.units import count as count_of

_SHARD = re.compile(r"(\d+)/(\d+)")


@click.command("run")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--shard", metavar="I/N", help="Shard I of N, from 0; else that of the Slurm array or Kubernetes job.")
@click.option("--of", "count", type=click.IntRange(min=1), help="N, where the array's own index is I.")
def command(store: Path, shard: str | None, count: int | None) -> None:
    """Do one shard of what was planned.

    What is done already is not done again, so a shard that failed is simply started once more. Without --shard the
    index is SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX; Kubernetes does not tell how many there are: --of 8.
    """
    from fastft.data import shards
    from fastft.models import tokenizer_files

    index, of = chosen(shard, count)
    job = shards.Job.read(store)
    progress = Progress()
    try:
        now, before = shards.run(job, tokenizer_files(job.config.model), index, of, bus=Bus([progress]))
    finally:
        progress.close()
    parts = [f"{count_of(now.rows, 'row')}, {count_of(now.tokens, 'token')}"] if now.rows else []
    parts += [f"{count_of(before.rows, 'row')} there already"] if before.rows else []
    console.say(f"shard {index} of {of}: {'; '.join(parts) or 'nothing to do'}")


def chosen(shard: str | None, count: int | None) -> tuple[int, int]:
    """Which shard, and of how many: from the option, else from the launcher's variables.

    Raises:
        click.UsageError: neither says it, or it is impossible.
    """
    index: int | None
    of: int | None
    if shard is not None:
        match = _SHARD.fullmatch(shard)
        if match is None or count is not None:
            raise click.UsageError(f"--shard is `{shard}`; expected for example 0/8, without --of")
        index, of = int(match[1]), int(match[2])
    else:
        index, of = env.shard() or (None, None)
        of = count or of
    if index is None:
        raise click.UsageError("say which shard: --shard 0/8")
    if of is None:
        raise click.UsageError("the launcher does not say how many shards there are: --of 8")
    if not 0 <= index < of:
        raise click.UsageError(f"there is no shard {index} of {of}; the first is 0")
    return index, of
