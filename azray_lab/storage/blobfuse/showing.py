"""How a folder on the disk appears read-only at another path, and how it goes from there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from azray_lab.errors import MountError
from azray_lab.storage.blobfuse import mountinfo, program

_MOUNT_SECONDS = 10.0


def show(source: Path, path: str, environ: Mapping[str, str]) -> bool:
    """Makes `source` appear read-only at the empty folder `path`: a bind mount, else a link. True for a link."""
    if not source.is_dir():
        raise MountError(
            f"the copy cannot be shown at {path}", cause=f"there is no {source}",
            next_step=f"azray unmount {path}, then azray mount, which brings it again", path=path,
        )  # fmt: skip
    path_variable = environ.get("PATH", os.defpath)
    if os.geteuid() == 0 and all(shutil.which(name, path=path_variable) for name in ("mount", "umount")):
        done = program.run(["mount", "--bind", str(source), path], environ, _MOUNT_SECONDS)
        if done.code == 0:
            done = program.run(["mount", "-o", "remount,bind,ro", path], environ, _MOUNT_SECONDS)
            if done.code == 0:
                return False
            program.run(["umount", path], environ, _MOUNT_SECONDS)
    folder = Path(path)
    try:
        folder.rmdir()
        folder.symlink_to(source)
    except OSError as error:
        raise MountError(
            f"the copy cannot be shown at {path}", cause=error.strerror or str(error),
            next_step=f"ls -ld {folder.parent}", path=path,
        ) from error  # fmt: skip
    return True


def hide(path: str, environ: Mapping[str, str], *, lazy: bool = False, table: Path = mountinfo.TABLE) -> str:
    """Takes the bind mount or the link away; returns what went wrong, empty when nothing did."""
    if Path(path).is_symlink():
        Path(path).unlink()
        Path(path).mkdir()
        return ""
    if mountinfo.at(path, table) is None:
        return ""
    done = program.run(["umount", *(["-l"] if lazy else []), path], environ, _MOUNT_SECONDS)
    return "" if done.code == 0 else done.said.strip()
