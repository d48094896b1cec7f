"""How a mount is, from the kernel's table, its process, its log and one touch from another process."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from azray_lab.storage.blobfuse import causes, mountinfo, probe, program, unwritten
from azray_lab.storage.blobfuse.mountpoint import signature_lost

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.records import Folder, Record

State = Literal["mounted", "silent", "stale", "gone", "ending", "kept"]
# The kernel's own count of a FUSE connection's requests (Documentation/filesystems/fuse.rst).
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_SCAN_SECONDS = 0.2


@dataclass(frozen=True)
class Health:
    """A mount as it is. `since` is in seconds since 1970, sizes are in bytes.

    `state`: `mounted` answers; `silent` does not, but its process lives; `stale` has lost its process; `gone` is no
    longer in the kernel's table; `ending` is not either, but its process lives and writes what was open. `cache` is the
    disk it uses, `memory` that of its process, `waiting` the requests of programs that it has not answered yet,
    `errors` how many its log holds. `unwritten` are files in its cache that may not be in Blob: their upload failed, or
    its process had written them when it died; a row of state `kept` stands for such files in the folder `path` by now.
    """

    path: str
    uri: str
    profile: str
    engine: str
    state: State
    reason: str = ""
    why: str = ""
    since: float = 0.0
    read_only: bool = False
    cache: int = 0
    memory: int = 0
    waiting: int = 0
    errors: int = 0
    last_error: str = ""
    unwritten: int = 0
    pid: int = 0
    owners: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The health as plain JSON."""
        return asdict(self)


def health(record: Record, folder: Folder, table: Path = mountinfo.TABLE) -> Health:
    """How the mount of `record` is; never more than five seconds."""
    there = mountinfo.at(record.path, table)
    state, reason = state_of(record, table)
    errors = causes.log_errors(folder.log)
    left = unwritten.written(record) if state in {"stale", "gone"} else unwritten.refused(record, folder.log)
    if left and state in {"stale", "gone"}:
        reason += f"; {_count(left)} in {record.cache} may not be in Blob, and will be kept"
    elif left:
        reason = f"{reason}; {_refused(left)}" if reason else _refused(left)
    if record.signed and record.engine == "blobfuse2" and state in {"stale", "gone"}:
        reason += f"; its signature is kept nowhere: {signature_lost(record).next_step}"
    return Health(
        path=record.path, uri=record.uri, profile=record.profile if record.uri else "", engine=record.engine,
        state=state, reason=reason, why=record.why, since=record.started or record.created,
        read_only=record.read_only or bool(there and there.read_only), cache=_size(Path(record.cache)),
        memory=_memory(record.pid), waiting=_waiting(there), errors=len(errors),
        last_error=errors[-1] if errors else "", unwritten=len(left), pid=record.pid, owners=record.owners,
    )  # fmt: skip


def _count(files: list[Path]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files):,} files"


def _refused(files: list[Path]) -> str:
    return f"the upload of {_count(files)} failed; what is not in Blob when it is unmounted will be kept"


def kept(one: unwritten.Kept) -> Health:
    """The row of `azray mounts` for what a dead mount has left."""
    return Health(
        path=one.folder, uri=one.uri, profile="", engine="", state="kept", reason=str(one), since=one.at,
        cache=one.size, unwritten=one.files,
    )  # fmt: skip


def quick(record: Record, table: Path = mountinfo.TABLE) -> State:
    """The state by the kernel's table and the process alone: for those who look every few seconds."""
    if record.linked:
        return "mounted" if Path(record.path).is_symlink() else "gone"
    if mountinfo.at(record.path, table) is None:
        return "gone"
    dead = record.engine == "blobfuse2" and record.pid and not program.alive(record.pid, record.started)
    return "stale" if dead else "mounted"


def state_of(record: Record, table: Path = mountinfo.TABLE) -> tuple[State, str]:
    """The state and its reason, by one touch from another process; never more than five seconds."""
    if record.linked:
        linked = Path(record.path).is_symlink()
        return ("mounted", "") if linked else ("gone", "the link to the copy is gone")
    if mountinfo.at(record.path, table) is None:
        return _unlisted(record)
    answer = probe.answers(record.path)
    if answer.ok:
        return "mounted", ""
    if answer.number == probe.LOST:
        return "stale", answer.error
    lives = program.alive(record.pid, record.started) if record.pid else bool(program.serving(record.path))
    return ("silent", f"{answer.error}, but its process lives") if lives else ("stale", answer.error)


def _unlisted(record: Record) -> tuple[State, str]:
    if record.starting:
        return "gone", "it is being mounted, or whoever did that was killed"
    if record.engine == "blobfuse2" and program.serving(record.path):
        return "ending", "what was open is still being written"
    return "gone", "the kernel lists no mount there"


def _size(folder: Path) -> int:
    """The bytes below `folder`, as far as a fifth of a second of looking tells."""
    end, total = time.monotonic() + _SCAN_SECONDS, 0
    if not folder.is_absolute() or not folder.is_dir():
        return 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118 - a hot loop
            except OSError:
                continue  # evicted meanwhile
        if time.monotonic() > end:
            break
    return total


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def _waiting(there: mountinfo.MountPoint | None) -> int:
    try:
        return int((_CONNECTIONS / str(there.minor) / "waiting").read_text()) if there else 0
    except (OSError, ValueError):
        return 0
