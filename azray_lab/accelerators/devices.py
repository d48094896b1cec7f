"""What accelerators are, as plain values: devices, and the reasons why there are none or fewer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

ReasonCode = Literal["no-device", "no-driver", "mismatch", "no-runtime", "hidden", "fraction", "lost", "failed"]


@dataclass(frozen=True)
class Process:
    """A process that uses a device: its pid, the device memory it holds (bytes, None when not told), its name."""

    pid: int
    memory: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Device:
    """One GPU, one MIG instance, or another accelerator. What its library does not tell is None or empty.

    `type` is Ray's name for it (`ray.util.accelerators`), empty when Ray has none. `index` is the number by which the
    vendor's tools call it (`0`; `0:1` for instance 1 on GPU 0), `uuid` the name that CUDA_VISIBLE_DEVICES takes as
    well. Memory is in bytes, `utilisation` a share from 0 to 1, `temperature` in degrees Celsius. `mig` is the profile
    of an instance (`1g.10gb`), or `on` for a GPU whose MIG mode is on and that has no instance. `nvlink` counts the
    links that are up. `problem` says what was wrong when it was read, `lost` that no work can be put on it any more.
    """

    vendor: str
    name: str
    type: str = ""
    index: str = "0"
    uuid: str = ""
    memory_total: int | None = None
    memory_used: int | None = None
    utilisation: float | None = None
    temperature: float | None = None
    driver: str = ""
    cuda: str = ""
    mig: str = ""
    nvlink: int | None = None
    processes: tuple[Process, ...] = ()
    pretended: bool = False
    problem: str = ""
    lost: bool = False

    @property
    def usable(self) -> bool:
        """Whether work can be put on it: it is there, and not in a MIG mode without instances."""
        return not self.lost and self.mig != "on"

    def to_dict(self) -> dict[str, Any]:
        """The device as plain JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Reason:
    """Why there is no device, or fewer or less than one would think; `next_step` is what changes it."""

    code: ReasonCode
    text: str
    next_step: str = ""

    def __str__(self) -> str:
        return f"{self.text}. Next: {self.next_step}" if self.next_step else self.text

    def to_dict(self) -> dict[str, Any]:
        """The reason as plain JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Detection:
    """What was found: the devices in the order of their indices, and the reasons why there are not more."""

    devices: tuple[Device, ...] = ()
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What was found, as plain JSON."""
        return dataclasses.asdict(self)
