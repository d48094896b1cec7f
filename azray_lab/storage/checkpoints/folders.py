"""The local folders in which checkpoints wait for their upload, and what becomes of those of processes that are gone.

    azray-checkpoint-XXXXXXXX/
      lock          held by the process that works with it, as long as that lives (flock)
      about.json    what it is, and how far it has come
      files/        the checkpoint

The lock, rather than a process id, tells whether somebody is at it: the kernel releases it whenever and however a
process ends, and it is true between containers that share a disk but no process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from azray_lab.durable import read_json, write_json
from azray_lab.errors import UsageError
from azray_lab.storage.engine.landing import local

_PREFIX = "azray-checkpoint-"
_FILES = "files"
# Being written; all there, to be uploaded; in Blob.
WRITING, READY, DONE = "writing", "ready", "done"
# Long enough to come back to from a week-end, and a bound for disks that nobody looks after.
_KEPT_SECONDS = 7 * 24 * 3600.0
# Whom this process knows to be left.
_told: set[Path] = set()


@dataclass(frozen=True)
class About:
    """What is known of a folder: where its checkpoint goes, its name and facts, its state, since when (since 1970)."""

    uri: str
    account: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: str = WRITING
    at: float = 0.0


class Waiting:
    """A local folder with a checkpoint that is not in Blob yet, locked by this process as long as it is at it."""

    def __init__(self, root: Path, lock: int, about: About) -> None:
        self.root = root
        self.about = about
        self._lock = lock

    @property
    def files(self) -> Path:
        """The folder with the checkpoint's files."""
        return self.root / _FILES

    @classmethod
    def make(cls, scratch: str | None, about: About) -> Waiting:
        """A new one below `scratch`, by default where the system keeps temporary files; for this user alone."""
        with local(scratch or tempfile.gettempdir(), "written to"):
            root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=scratch))
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a disk that knows no locks: then nobody else gets one either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made = cls(root, lock, about)
        made.files.mkdir()
        made.note(WRITING)
        return made

    @classmethod
    def taken(cls, root: Path) -> Waiting | None:
        """The one at `root`, when nobody is at it; None when somebody is, or it is none, or another user's."""
        lock = -1
        try:
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                return None
            lock = os.open(root / "lock", os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(root, lock, About(**read_json(root / "about.json")))
        except (OSError, ValueError, TypeError):
            if lock >= 0:
                os.close(lock)
            return None

    def note(self, state: str, facts: Mapping[str, Any] | None = None, name: str = "") -> None:
        """Keeps how far it has come."""
        known = self.about
        self.about = replace(
            known, state=state, at=time.time(), name=name or known.name, facts=known.facts if facts is None else facts
        )
        write_json(self.root / "about.json", asdict(self.about))

    def leave(self) -> None:
        """Leaves it to whoever wants it; this process is not told of it by `sweep`, for it was by an error."""
        _told.add(self.root)
        self.release()

    def release(self) -> None:
        """Unlocks it."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def remove(self) -> None:
        """Removes it."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.release()

    @property
    def next_step(self) -> str:
        """How it gets into Blob after all."""
        return f"azray_lab.checkpoints({self.about.uri!r}).save({str(self.files)!r}, {self.about.name!r})"


def left(folder: Path) -> Waiting | None:
    """The folder that an earlier upload has left with its files in `folder`; None when it is any other.

    UsageError while somebody is still uploading it.
    """
    folder = folder.absolute()
    if folder.name != _FILES or not folder.parent.name.startswith(_PREFIX):
        return None
    found = Waiting.taken(folder.parent)
    if found is None and (folder.parent / "about.json").exists():
        raise UsageError(f"{folder} is in use", cause="a process is still at it", next_step="wait until it has ended")
    return found


def sweep(scratch: str | None, uri: str, account: str) -> None:
    """Removes what processes that are gone have left below `scratch`, unless it is whole and not in Blob.

    What is, and belongs to `uri` or a place below it, is told by a warning, once in each process. After a week it is
    removed, which is told, too, wherever it belongs.
    """
    for found in _abandoned(Path(scratch or tempfile.gettempdir())):
        about = found.about
        if about.state != READY:
            found.remove()
        elif time.time() - about.at > _KEPT_SECONDS:
            found.remove()
            _warn(f"the checkpoint {about.name!r} of {about.uri} was removed after a week: it was never uploaded")
        else:
            found.release()
            if about.account == account and f"{about.uri}/".startswith(f"{uri}/") and found.root not in _told:
                _told.add(found.root)
                what = f"the checkpoint {about.name!r} of {about.uri} was not uploaded"
                _warn(f"{what}; its files are in {found.files}. Next: {found.next_step}")


def _abandoned(scratch: Path) -> Iterator[Waiting]:
    for root in sorted(scratch.glob(f"{_PREFIX}*")):
        found = Waiting.taken(root)
        if found is not None:
            yield found


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=6)
