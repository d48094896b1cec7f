"""The folder at which something is to be mounted: made, found empty, taken away; and why it cannot be mounted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.errors import MountError, UsageError
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


def check_whole(record: Record) -> None:
    """MountError for a copy of which nobody knows whether all of it came."""
    if record.starting:
        raise MountError(
            f"{record.path} cannot be brought back", cause="whoever mounted it was killed: its copy may not be whole",
            next_step=f"azray mount {record.uri} {record.path} --profile {record.profile}", path=record.path,
        )  # fmt: skip


def taken(uri: str, path: str, by: str, *, ours: bool = True) -> MountError:
    """The error for a folder at which something else is mounted, which is only ours to unmount when it is blobfuse2."""
    step = f"azray unmount {path}, or give another folder" if ours else "give another folder"
    return MountError(
        f"{uri} cannot be mounted at {path}", cause=f"{by} is mounted there", next_step=step, path=path, uri=uri
    )


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """In the block an error of the system's becomes ours."""
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename
        where = f"{name}: " if name else ""
        raise MountError(
            f"{path} cannot be used", cause=f"{where}{error.strerror or error}",
            next_step="see that the folder and its disk are there, and yours", path=path,
        ) from error  # fmt: skip


def signature_lost(record: Record) -> MountError:
    """Why a mount whose URI had a signature cannot be brought back, and what does it."""
    return MountError(
        f"{record.path} cannot be brought back", cause="it was opened by a signature in its URI, which is kept nowhere",
        next_step=f"azray mount '{record.uri}?SIGNATURE' {record.path} --profile {record.profile}",
        path=record.path, uri=record.uri,
    )  # fmt: skip


def check_cache(cache: str, path: str) -> None:
    """UsageError for a cache folder that cannot be one: in the mount itself, or where no folder can be made."""
    if not cache:
        return
    if Path(cache).resolve().is_relative_to(path):
        raise UsageError(
            f"the cache {cache} cannot be in the mount", cause=f"{path} has to be an empty folder",
            next_step="--cache FOLDER outside of it",
        )  # fmt: skip
    made = []
    try:
        for folder in reversed([Path(cache), *Path(cache).parents]):
            if not folder.is_dir():
                folder.mkdir()
                made.append(folder)
        if not os.access(cache, os.W_OK | os.X_OK):
            raise PermissionError(0, "this user may not write there")
    except OSError as error:
        raise UsageError(
            f"{cache} cannot be the cache", cause=error.strerror or str(error),
            next_step="--cache FOLDER, a folder of yours on a disk of this machine",
        ) from error  # fmt: skip
    finally:
        for folder in reversed(made):
            folder.rmdir()
