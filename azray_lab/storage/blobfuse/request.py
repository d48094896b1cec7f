"""What is asked for when a container is to be mounted, and which engine serves it: decided by a look at the data."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from azray_lab.errors import AzRayError, UnsupportedError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse import program
from azray_lab.storage.blobfuse.capacity import MIB
from azray_lab.storage.blobfuse.profiles import PROFILES, Access, Profile, Value
from azray_lab.storage.blobfuse.records import USER, Engine

if TYPE_CHECKING:
    from azray_lab.spec.models import MountSpec
    from azray_lab.storage.blobfuse.blobs import Found

DEVICE = Path("/dev/fuse")
LOOK_SECONDS = 1.0
# Below this mean size the requests, not the bytes, take the time: at 10 ms and 60 MB/s both are equal at 0.6 MiB.
_SMALL = MIB
_MANY = 50
# Formats that are read in pieces, by column, row group or chunk.
_RANDOM = (".parquet", ".lance", ".arrow", ".feather", ".orc", ".zarr", ".h5", ".hdf5", ".nc", ".tif", ".tiff")


@dataclass(frozen=True)
class Request:
    """A mount as it is asked for. `owner` is `user` or a cluster's id; `read_only` None leaves it to the profile."""

    uri: BlobUri
    path: str
    profile: Profile = "shared"
    engine: Literal["auto", "blobfuse2", "hydrate"] = "auto"
    access: Literal["auto", "sequential", "random"] = "auto"
    fallback: Literal["none", "copy"] = "none"
    read_only: bool | None = None
    allow_other: bool = False
    overrides: Mapping[str, Value] = field(default_factory=dict)
    cache: str = ""
    owner: str = USER

    def __post_init__(self) -> None:
        if not self.uri.container:
            raise UsageError(f"{self.uri} names no container", next_step="azray mount az://CONTAINER/FOLDER /mnt/x")
        if self.profile not in PROFILES:
            raise UsageError(f"there is no profile {self.profile!r}", cause=f"there are {', '.join(PROFILES)}")
        if self.uri.path and not self.uri.path.strip("/"):
            raise UsageError(f"{self.uri} names no folder", next_step="azray mount az://CONTAINER/FOLDER /mnt/x")
        if "*" in self.path:
            raise UsageError(
                f"nothing can be mounted at {self.path}", cause="blobfuse2 takes * for a pattern when it unmounts",
                next_step="give a folder without *",
            )  # fmt: skip
        self._check_copy()

    def _check_copy(self) -> None:
        """UsageError for what a copy cannot be, where one is asked for or allowed."""
        if self.read_only is False and (self.engine == "hydrate" or self.fallback == "copy"):
            asked = "--engine hydrate" if self.engine == "hydrate" else "--fallback copy"
            raise UsageError(
                f"{asked} and --writable contradict each other", cause="a copy on the local disk is read-only",
                next_step=f"leave out --writable, or {asked}",
            )  # fmt: skip
        if self.engine == "hydrate" and self.overrides:
            raise UsageError(
                f"{next(iter(self.overrides))} has no effect here", cause="a copy is no mount of blobfuse2",
                next_step="leave out --set, or --engine hydrate",
            )  # fmt: skip

    @property
    def only_read(self) -> bool:
        """Whether nothing may be written: said, or because the profile is for reading."""
        return self.profile in {"dataset", "models"} if self.read_only is None else self.read_only


def from_spec(mount: MountSpec, owner: str) -> Request:
    """The request for an entry of the spec's `mounts:`."""
    return Request(
        BlobUri.parse(mount.uri), mount.path, mount.profile, mount.engine, mount.access, mount.fallback,
        mount.read_only, overrides=dict(mount.options), owner=owner,
    )  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a look at the first names told: how many blobs and bytes, how much of it in formats read in pieces.

    `complete` says that there are no more.
    """

    blobs: int = 0
    size: int = 0
    pieces: int = 0
    complete: bool = True

    @property
    def small(self) -> bool:
        """Whether it is many small files."""
        return self.blobs >= _MANY and self.size < self.blobs * _SMALL

    @property
    def access(self) -> Access:
        """How such data is read."""
        return "random" if self.pieces * 2 > self.size else "sequential"

    def __str__(self) -> str:
        mean = self.size / max(self.blobs, 1)
        size = f"{mean / MIB:.1f} MiB" if mean >= MIB else f"{mean / 1024:.0f} KiB"
        count = "1 blob" if self.blobs == 1 else f"{self.blobs:,} blobs"
        return f"{'' if self.complete else 'more than '}{count} of {size} on average"


def look(blobs: Iterable[Found], seconds: float = LOOK_SECONDS, into: list[Found] | None = None) -> Look:
    """Looks at `blobs` (a listing under way) for about `seconds` after the first one came; keeps them in `into`."""
    count = size = pieces = 0
    end = float("inf")
    for blob in blobs:
        end = min(end, time.monotonic() + seconds)
        if into is not None:
            into.append(blob)
        count, size = count + 1, size + blob.size
        pieces += blob.size if blob.name.lower().endswith(_RANDOM) else 0
        if time.monotonic() > end:
            return Look(count, size, pieces, complete=False)
    return Look(count, size, pieces)


@dataclass(frozen=True)
class Choice:
    """The engine and what it has to know of the data, with the reason in words."""

    engine: Engine
    small: bool
    access: Access
    why: str


def choose(request: Request, seen: Look | None, room: int, problem: AzRayError | None) -> Choice:
    """Which engine serves `request`. `seen` is None where nobody looked, `room` the bytes that a copy may take.

    `problem` is why FUSE cannot work here; it is raised when there is no way without.
    """
    small = bool(seen and seen.small)
    access: Access = request.access if request.access != "auto" else (seen.access if seen else "sequential")
    if request.engine == "hydrate":
        return Choice("hydrate", small, access, "asked for")
    copied = request.engine == "auto" and request.profile == "dataset" and request.read_only is not False
    if copied and seen and small and seen.complete:
        if seen.size <= room:
            return Choice("hydrate", small, access, f"{seen}: no FUSE mount is fast with so many small files")
        return Choice(*_fuse(request, problem), small, access, f"{seen}, more than the {room // MIB} MiB of a copy")
    (engine,) = _fuse(request, problem)
    if engine == "hydrate":
        return Choice(engine, small, access, f"a read-only copy, because {_reason(problem)}")
    return Choice(engine, small, access, str(seen) if seen else f"profile {request.profile}")


def _fuse(request: Request, problem: AzRayError | None) -> tuple[Engine]:
    if problem is None:
        return ("blobfuse2",)
    if request.fallback != "copy":
        raise problem
    return ("hydrate",)


def _reason(problem: AzRayError | None) -> str:
    return "" if problem is None else problem.message + (f" ({problem.cause})" if problem.cause else "")


def obstacle(environ: Mapping[str, str], device: Path = DEVICE) -> AzRayError | None:
    """Why blobfuse2 cannot work here, as far as a look without trying tells; None when nothing is in the way."""
    try:
        program.find(environ)
    except UnsupportedError as error:
        return error
    path = environ.get("PATH", os.defpath)
    if shutil.which("fusermount3", path=path) is None:
        step = "as root: apt-get install fuse3 (or dnf install fuse3)"
        return UnsupportedError("fuse3 is not installed", cause="there is no fusermount3 on PATH", next_step=step)
    if not device.exists() or not os.access(device, os.R_OK | os.W_OK):
        cause = f"{device} is not there" if not device.exists() else f"this user may not use {device}"
        step = "docker run --device /dev/fuse --cap-add SYS_ADMIN, or --engine hydrate"
        return UnsupportedError("FUSE cannot be used here", cause=cause, next_step=step)
    return None
