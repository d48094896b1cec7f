"""The folder at which something is to be mounted: made, found empty, taken away; and why it cannot be mounted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.errors import MountError
from azray_lab.storage.blobfuse import probe

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.records import Record


def make(path: str) -> bool:
    """Sees to it that `path` is an empty folder; True when it had to be made."""
    folder = Path(path)
    if not folder.parent.is_dir():
        raise MountError(f"there is no folder {folder.parent}", next_step=f"mkdir -p {folder.parent}", path=path)
    try:
        folder.mkdir()
    except FileExistsError:
        answer = probe.is_empty(path)
        if not answer.ok:
            cause = answer.error or "the folder is not empty"
            raise MountError(
                f"nothing can be mounted at {path}", cause=cause, next_step="give another folder", path=path
            ) from None
        return False
    except OSError as error:
        raise MountError(
            f"the folder {path} cannot be made", cause=error.strerror or str(error),
            next_step="give a folder of yours", path=path,
        ) from error  # fmt: skip
    return True


def unmake(path: str, *, made: bool) -> None:
    """Removes a folder that was made for a mount; when somebody's files lie in it by now it stays."""
    if made and not os.path.ismount(path):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def check_dead(record: Record, state: str, reason: str) -> None:
    """MountError for a mount that does not answer while its process lives: nobody ends that unasked."""
    if state == "silent":
        raise MountError(
            f"{record.path} does not answer", cause=reason, path=record.path,
            next_step=f"azray unmount {record.path} --lazy, which gives up what is not written",
        )  # fmt: skip


def taken(record: Record, by: str) -> MountError:
    """The error for a folder at which something else is mounted."""
    return MountError(
        f"{record.uri} cannot be mounted at {record.path}", cause=f"{by} is mounted there",
        next_step=f"azray unmount {record.path}, or give another folder", path=record.path,
    )  # fmt: skip


def signature_lost(record: Record) -> MountError:
    """Why a mount whose URI had a signature cannot be brought back, and what does it."""
    return MountError(
        f"{record.path} cannot be brought back", cause="it was opened by a signature in its URI, which is kept nowhere",
        next_step=f"azray mount '{record.uri}?SIGNATURE' {record.path} --profile {record.profile}",
        path=record.path, uri=record.uri,
    )  # fmt: skip
