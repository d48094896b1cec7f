"""Where detection looks: the roots of /proc, /sys and /dev, the vendors' libraries, and the environment. All given."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azray_lab.spec import settings


def load_nvml() -> Any:
    """NVIDIA's library as nvidia-ml-py gives it; ImportError without the package. The library itself is not loaded."""
    return importlib.import_module("pynvml")


def load_amdsmi() -> Any:
    """AMD's library, whose Python package comes with ROCm; ImportError or OSError where there is none.

    It ends its import with KeyError where it cannot find its own place (amdsmi 6 and 7).
    """
    return importlib.import_module("amdsmi")


@dataclass(frozen=True)
class Host:
    """A machine to look at. The default is this one; tests give captured trees and libraries that speak from a file.

    `nvml` and `amdsmi` return modules (or objects with the same functions) or raise ImportError, OSError or KeyError.
    """

    root: Path = Path("/")
    nvml: Callable[[], Any] = load_nvml
    amdsmi: Callable[[], Any] = load_amdsmi
    environment: Mapping[str, str] = field(default_factory=settings.process_environment)

    def path(self, place: str) -> Path:
        """An absolute place on the machine: `/sys/bus` below the root."""
        return self.root / place.lstrip("/")

    def text(self, place: str | Path) -> str:
        """The stripped content of a file, an empty string where it cannot be read: /sys is full of such files."""
        try:
            return (self.path(place) if isinstance(place, str) else place).read_text(errors="replace").strip()
        except OSError:
            return ""

    @property
    def in_container(self) -> bool:
        """Whether Docker, Podman or Kubernetes runs this process: by their marks, or by a root of layers."""
        marks = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")
        if any(self.path(mark).exists() for mark in marks):
            return True
        mounts = (line.split() for line in self.text("/proc/self/mountinfo").splitlines())
        return any(words[4] == "/" and "overlay" in words[words.index("-") :][:2] for words in mounts if "-" in words)

    def number(self, place: str | Path, base: int = 10) -> int | None:
        """The number in a file, None where there is none."""
        try:
            return int(self.text(place), base)
        except ValueError:
            return None
