"""Waiting until nobody has anything below a mount open."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, MountError
from azray_lab.storage.blobfuse import program

if TYPE_CHECKING:
    from azray_lab.operation import Operation

_NAMED = 3


def closed(path: str, operation: Operation[Any], wait: float) -> None:
    """Returns when nothing below `path` is open; MountError that names who has what, after `wait` seconds."""

    def words() -> str:
        held = program.open_files(path)
        return f"{', '.join(map(str, held[:_NAMED]))}{' and more' if len(held) > _NAMED else ''} is open"

    end = time.monotonic() + wait
    while held := program.open_files(path):
        if time.monotonic() > end:
            raise MountError(
                f"{path} is in use", cause=words(), path=path, open=[str(one) for one in held],
                next_step=f"close it, or azray unmount {path} --lazy",
            )  # fmt: skip
        rest = max(end - time.monotonic(), 0.1)
        with contextlib.suppress(AzRayError):
            operation.check()
            operation.wait_for(lambda: not program.open_files(path), reason=words, seconds=rest, interval=0.1)
        operation.check()
