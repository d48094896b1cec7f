"""Mounts in mounts: the kernel takes none away that has another one in it, and a folder in one is a folder in Blob."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.errors import MountError
from azray_lab.storage.blobfuse import mountinfo

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.records import Records


def inside(path: str, table: Path = mountinfo.TABLE) -> list[str]:
    """What is mounted below `path`, the innermost first."""
    found = {there.path for there in mountinfo.read(table) if there.path.startswith(f"{path.rstrip('/')}/")}
    return sorted(found, key=lambda one: (-one.count("/"), one))


def check_nothing_inside(path: str, records: Records, table: Path = mountinfo.TABLE) -> None:
    """MountError that names what is mounted below `path`, and the command that takes it away."""
    if inner := inside(path, table):
        raise MountError(
            f"{path} cannot be unmounted", cause=f"{words(inner[0], records, table)} is mounted in it", path=path,
            next_step=f"azray unmount {inner[0]}, then azray unmount {path}; or --lazy, which takes both",
        )  # fmt: skip


def check_outside(path: str, records: Records, table: Path = mountinfo.TABLE) -> None:
    """MountError for a folder in a mount that can be written: it would be made in Blob, and hide what comes there."""
    for there in mountinfo.read(table):
        if there.blobfuse and not there.read_only and path.startswith(f"{there.path.rstrip('/')}/"):
            raise MountError(
                f"nothing can be mounted at {path}", path=path, next_step="give a folder outside of it",
                cause=f"it is in {words(there.path, records, table)}, so the folder would be one in Blob",
            )  # fmt: skip


def words(path: str, records: Records, table: Path = mountinfo.TABLE) -> str:
    """What is mounted at `path`, for people."""
    record, there = records.get(path), mountinfo.at(path, table)
    what = record.uri if record is not None else (there.kind if there is not None else "something")
    return f"{path} ({what})"
