"""Machines to look at: each is a JSON file with what NVML answers and what stands below /sys, /proc and /dev.

None of them was captured on hardware of ours: they are written down after the vendors' documentation and public
outputs of `nvidia-smi -q`, `lspci -n` and `amd-smi`. The test marked `gpu` looks at real hardware where there is some.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from azray_lab.accelerators import Host
from azray_lab.testing.nvml import FakeNvml

MACHINES = Path(__file__).parent / "machines"


@dataclass
class Captured:
    """A machine: the host that detection is given, and its NVML where it has one."""

    host: Host
    nvml: FakeNvml | None


Machines = Callable[..., Captured]


def nothing() -> Any:
    """A library that is not installed."""
    raise ImportError("no such library")


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    """Builds a machine's tree below a fresh folder; `environment` is that of the process, `failing` NVML's faults."""

    def build(name: str, *, failing: dict[str, tuple[int, int]] | None = None, **environment: str) -> Captured:
        told = json.loads((MACHINES / f"{name}.json").read_text())
        root = tmp_path / name
        if not root.exists():  # a test may ask for the same machine many times, each with another fault
            for place, content in told["files"].items():
                _write(root, place, content)
        nvml = FakeNvml(told["nvml"], failing or {}) if "nvml" in told else None
        return Captured(Host(root, nvml=nvml or nothing, amdsmi=nothing, environment=environment), nvml)

    return build


def _write(root: Path, place: str, content: str) -> None:
    path = root / place.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    if content.startswith("-> "):
        target = root / content.removeprefix("-> ").lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    else:
        path.write_text(content)
