"""What a mount may use of this machine: memory and disk that are free, and CPUs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Capacity:
    """Free memory and free disk below the cache folder, in bytes, and logical CPUs."""

    memory: int
    disk: int
    cpus: int


def measure(folder: Path) -> Capacity:
    """Looks at this machine, the control group's limit included. `folder`, or the nearest one above it, is the disk."""
    while not folder.exists():
        folder = folder.parent
    return Capacity(_free_memory(), shutil.disk_usage(folder).free, len(os.sched_getaffinity(0)))


def _free_memory() -> int:
    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, max(int(limit) - used, 0)) if limit.isdecimal() else free
