"""What there is to compute on, and how much memory it has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.core.errors import UnsupportedError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        kind: `cpu` or `cuda`.
        index: which of its kind.
        name: as its maker calls it.
        memory_bytes: all of its memory.
        free_bytes: what no process uses now.
    """

    kind: str
    index: int
    name: str
    memory_bytes: int
    free_bytes: int


def devices() -> list[Device]:
    """All devices, the fastest kind first; the CPU is always the last."""
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(Device("cuda", index, torch.cuda.get_device_name(index), total, free))
    total, free = _system_memory()
    return [*found, Device("cpu", 0, _cpu_name(), total, free)]


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for the config's `device`.

    Raises:
        UnsupportedError: when CUDA is asked for and there is none.
    """
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UnsupportedError(
            '`device = "cuda"`, and torch finds no CUDA device', hint='use `device = "auto"`', code="device.no-cuda"
        )
    return torch.device("cuda", local_rank)


def memory_used(device: torch.device) -> int:
    """Bytes in use now: allocated by torch on CUDA, resident in this process on the CPU."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # no Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def _system_memory() -> tuple[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # no Linux: say what is unused, without caches
        available = os.sysconf("SC_AVPHYS_PAGES") * page
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        total = min(total, int(text))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        available = min(available, max(0, int(text) - used))
    return total, available


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        import platform

        return platform.processor() or platform.machine()
