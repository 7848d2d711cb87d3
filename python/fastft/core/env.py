"""Every environment variable that fastft reads, with its meaning; nothing else looks at `os.environ`.

`VARIABLES` is the whole list, printed by `fastft doctor --verbose` and by the reference page.
Each is read when it is asked for, so a test or a launcher may set it at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

VARIABLES: dict[str, str] = {
    "FASTFT_CACHE": "folder of prepared data and converted models; else $XDG_CACHE_HOME/fastft, else ~/.cache/fastft",
    "FASTFT_REMOTE_CACHE_GB": "how much of data from elsewhere is kept in the cache, in GB; else 200",
    "FASTFT_RUNS": "folder that holds the runs; else `runs` in the working directory",
    "FASTFT_OPS": "`reference` serves every op by its plain definition, to find out whether a kernel is at fault",
    "FASTFT_CPU": "`generic`, `avx2` or `avx512`: the tier of compiled CPU kernels; else the best that the CPU has",
    "NO_COLOR": "any text: no colour (https://no-color.org)",
    "FORCE_COLOR": "any text: colour even where the output is no terminal",
    "COLUMNS": "width of the terminal, where it can't be asked",
    "CI": "any text: plain lines instead of a moving progress bar",
    "RANK": "this process's number among all, from 0; set by a launcher such as torchrun",
    "WORLD_SIZE": "how many processes take part; set by the launcher",
    "LOCAL_RANK": "this process's number on this machine; set by the launcher",
    "MASTER_ADDR": "where rank 0 listens; set by the launcher",
    "MASTER_PORT": "the port on which rank 0 listens; set by the launcher",
    "TORCHELASTIC_USE_AGENT_STORE": "`True`: torchrun itself listens at MASTER_PORT; set by it",
    "TORCHELASTIC_RESTART_COUNT": "how often torchrun has started the processes anew; set by it",
    "SLURM_ARRAY_TASK_ID": "which task of a Slurm array this is: the shard of `fastft data run`",
    "SLURM_ARRAY_TASK_MIN": "the first task of the array; set by Slurm",
    "SLURM_ARRAY_TASK_COUNT": "how many tasks the array has; set by Slurm",
    "JOB_COMPLETION_INDEX": "which pod of an indexed Kubernetes job this is: the shard of `fastft data run`",
    "OMP_NUM_THREADS": "threads of one CPU op",
    "OMP_WAIT_POLICY": "`PASSIVE` unless set: threads that wait let others have the core",
    "HF_HUB_OFFLINE": "`1`: use hub files that are here already and never ask the network",
    "XDG_CACHE_HOME": "the user's cache folder",
    "SHELL": "the user's shell, for `fastft completion` without a name",
}

FOR_OTHERS = frozenset({"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "COLUMNS"})
"""Those of them that libraries below us read; listed because a user of fastft meets them."""


def get(name: str) -> str | None:
    """The text of a variable of `VARIABLES`; None when it is unset or empty.

    Raises:
        KeyError: the variable is not documented above, which is ours to mend.
    """
    if name not in VARIABLES:
        raise KeyError(f"{name} is read but not documented in core/env.py")
    return os.environ.get(name) or None


def named(name: str) -> str | None:
    """The text of a variable that a config names, such as an API key; None when it is unset or empty."""
    return os.environ.get(name) or None


def cache() -> str | None:
    """`FASTFT_CACHE`; `paths.cache_folder` has the rest of the rule."""
    return get("FASTFT_CACHE")


def remote_cache_bytes() -> int:
    """How much of data from elsewhere is kept.

    Raises:
        ValueError: `FASTFT_REMOTE_CACHE_GB` is no number.
    """
    value = get("FASTFT_REMOTE_CACHE_GB") or "200"
    try:
        return int(float(value) * 1e9)
    except (ValueError, OverflowError):
        raise ValueError(f"FASTFT_REMOTE_CACHE_GB is `{value}`; expected a number of gigabytes") from None


def runs() -> str | None:
    """`FASTFT_RUNS`; `paths.runs_folder` has the rest of the rule."""
    return get("FASTFT_RUNS")


def ops() -> Literal["auto", "reference"]:
    """Which implementation serves an op: the fastest there is, or the definition.

    Raises:
        ValueError: `FASTFT_OPS` is set to something else.
    """
    value = get("FASTFT_OPS") or "auto"
    if value == "reference":
        return "reference"
    if value == "auto":
        return "auto"
    raise ValueError(f"FASTFT_OPS is `{value}`; expected `reference` or `auto`")


def color() -> bool | None:
    """False under `NO_COLOR`, True under `FORCE_COLOR`, None: the terminal decides."""
    if get("NO_COLOR"):
        return False
    return True if get("FORCE_COLOR") else None


def ci() -> bool:
    """Whether nobody is watching."""
    return get("CI") not in (None, "0", "false")


def rank() -> int:
    """This process's number among all processes of the run."""
    return _number("RANK", 0)


def world_size() -> int:
    """How many processes take part in the run."""
    return _number("WORLD_SIZE", 1)


def local_rank() -> int:
    """This process's number on this machine."""
    return _number("LOCAL_RANK", 0)


def launcher_holds_store() -> bool:
    """Whether torchrun listens at MASTER_PORT, so that rank 0 must not."""
    return get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def restarts() -> int:
    """How often the launcher has started the processes anew."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def shard() -> tuple[int, int | None] | None:
    """Which part of an array of jobs this is, from 0, and of how many where that is known; None outside of one."""
    if get("SLURM_ARRAY_TASK_ID") is not None:
        count = _number("SLURM_ARRAY_TASK_COUNT", 0)
        return _number("SLURM_ARRAY_TASK_ID", 0) - _number("SLURM_ARRAY_TASK_MIN", 0), count or None
    if get("JOB_COMPLETION_INDEX") is not None:
        return _number("JOB_COMPLETION_INDEX", 0), None
    return None


def launched() -> bool:
    """Whether a launcher (torchrun, or fastft's own) started this process as one of several."""
    return get("RANK") is not None and get("WORLD_SIZE") is not None


def offline() -> bool:
    """Whether the hub must not be asked."""
    return get("HF_HUB_OFFLINE") not in (None, "0", "false", "FALSE")


def share_cores() -> None:
    """Let threads of torch's CPU ops sleep while they wait, unless the user has decided; before torch is imported.

    A trade: on two cores at load 4.5 a step was 4 to 5 times faster than with OpenMP's spinning, one run each; on the
    same cores idle it was 28 % slower (141 against 195 tokens/s, one run each). `OMP_WAIT_POLICY=ACTIVE` spins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def child(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that we start: ours, and what is in `extra`."""
    return {**os.environ, **extra}


def _number(name: str, default: int) -> int:
    value = get(name)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name} is `{value}`; expected a whole number") from None
