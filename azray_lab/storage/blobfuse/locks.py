"""Locks between processes as files that go with whoever held them: nothing stays of a path that was mounted once."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azray_lab.operation import Operation


class Lock:
    """The right to change something, by an exclusive flock(2) on `path`; it ends with the process that has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def take(self) -> bool:
        """Takes it if nobody has it now; whether it was free."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _held(file) and self._is(file):
            self._file = file
            return True
        os.close(file)
        return False

    def _is(self, file: int) -> bool:
        """Whether the name still leads to this file: whoever held it may have taken it away since it was opened."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file), self._path.stat())
        return False

    def free(self) -> None:
        """Gives it back, and removes its file while nobody else can have it: who opened that one, opens a new one."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1

    @contextlib.contextmanager
    def held(self, operation: Operation[Any], reason: str, seconds: float) -> Iterator[None]:
        """The block has it; waits up to `seconds` for another process, and tells `reason` when that lasts."""
        operation.wait_for(self.take, reason=reason, seconds=seconds, next_step="azray mounts")
        try:
            yield
        finally:
            self.free()

    @contextlib.contextmanager
    def if_free(self) -> Iterator[bool]:
        """The block has it, if nobody else has: True with it, False without."""
        if not self.take():
            yield False
            return
        try:
            yield True
        finally:
            self.free()


def _held(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
