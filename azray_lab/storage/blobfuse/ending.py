"""How mounts end: unmounted, given up, cleared away when they are dead; and what they had written, kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import MountError
from azray_lab.storage.blobfuse import closing, mountinfo, mountpoint, nesting, probe, program, showing, unwritten
from azray_lab.storage.blobfuse.daemon import Daemon
from azray_lab.storage.blobfuse.health import state_of
from azray_lab.storage.blobfuse.records import USER, Folder, Record, Records, place

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri

WAIT_SECONDS = 30.0
# Who takes a mount away at once does not wait for a service that may be what is in trouble.
_LAZY_SECONDS = 5.0


class Ending:
    """Takes mounts away. `environ` is where credentials and PATH come from, `table` the kernel's mounts."""

    def __init__(self, records: Records, environ: Mapping[str, str], table: Path) -> None:
        self._records = records
        self._environ = environ
        self._table = table

    @property
    def unwritten(self) -> unwritten.Unwritten:
        """What mounts have left that is not in Blob."""
        return unwritten.Unwritten(self._records)

    def daemon(self, record: Record, uri: BlobUri | None = None) -> Daemon:
        """The process of that mount."""
        return Daemon(record, self._records.folder(record.path), self._environ, self._table, uri)

    def dead(self, path: str) -> bool:
        """Whether what is mounted there has lost its process."""
        answer = probe.answers(path)
        return answer.number == probe.LOST or (answer.silent and not program.serving(path))

    def unmount(
        self, path: str, operation: Operation[Any], *, owner: str = USER, wait: float = WAIT_SECONDS, lazy: bool = False
    ) -> bool:
        """See `Mounts.unmount`."""
        path = place(path, self._records)
        with self._records.lock(path, operation), mountpoint.told(path):
            record = self._records.get(path)
            if record is None:
                self._unmount_foreign(path, operation, lazy=lazy)
                return True
            left = tuple(other for other in record.owners if other != owner)
            if left and owner in record.owners:
                self._records.folder(path).write(record.but(owners=left))
                return False
            with operation.stage("unmount", path):
                self._end(record, operation, wait=wait, lazy=lazy)
            return True

    def _end(self, record: Record, operation: Operation[Any], *, wait: float, lazy: bool) -> None:
        if not lazy:
            nesting.check_nothing_inside(record.path, self._records, self._table)
        state, reason = state_of(record, self._table)
        if not lazy:
            mountpoint.check_dead(record, state, reason)
        self._take_along(record.path, operation)
        if state == "mounted":
            if not lazy:
                closing.closed(record.path, operation, wait)
            self._stop(record, operation, lazy=lazy)
        elif state == "ending" and not lazy:
            self.daemon(record).wait(operation, wait)
        self.clear(record, operation, ask=not lazy)

    def _take_along(self, path: str, operation: Operation[Any]) -> None:
        """Takes away at once, and tells, what is mounted below `path`: the kernel would do it, without a word."""
        for inner in nesting.inside(path, self._table):
            operation.note(
                f"with {path} goes what is mounted in it: {nesting.words(inner, self._records, self._table)}"
            )
            with self._records.lock(inner, operation):
                if (record := self._records.get(inner)) is not None:
                    self._end(record, operation, wait=0.0, lazy=True)
                else:
                    program.detach(inner, self._environ)

    def _unmount_foreign(self, path: str, operation: Operation[Any], *, lazy: bool) -> None:
        there = mountinfo.at(path, self._table)
        if there is None or not there.blobfuse:
            raise MountError(
                f"nothing of ours is mounted at {path}", next_step="azray mounts", path=path,
                cause=f"a {there.kind} from {there.source} is" if there else "the kernel lists no mount there",
            )  # fmt: skip
        if self.dead(path):
            program.detach(path, self._environ)
            return
        if not lazy:
            nesting.check_nothing_inside(path, self._records, self._table)
            closing.closed(path, operation, WAIT_SECONDS)
        self._take_along(path, operation)
        record = Record(uri="", path=path, profile="shared", engine="blobfuse2", created=0.0)
        Daemon(record, Folder(self._records.root), self._environ, self._table).stop(operation, lazy=lazy)

    def _stop(self, record: Record, operation: Operation[Any], *, lazy: bool) -> None:
        if record.engine != "blobfuse2":
            self._hide(record, lazy=lazy)
            return
        # A file whose upload was refused lies in the cache alone, which the process empties when it ends.
        left = self._left(record, operation, lazy=lazy)
        kept = self.unwritten.keep(record, left, by_link=True)
        # From here on nobody brings it back or takes its cache, whatever happens to this process.
        folder = self._records.folder(record.path)
        folder.write(record.but(ending=True))
        try:
            self.daemon(record).stop(operation, lazy=lazy)
        except BaseException:
            if mountinfo.at(record.path, self._table) is not None:
                folder.write(record)
                self.unwritten.drop(kept)
            raise
        if kept is not None:
            operation.note(str(kept), unwritten=kept.to_dict())

    def _left(self, record: Record, operation: Operation[Any], *, lazy: bool) -> list[Path]:
        """The files in a living mount's cache that nobody has open and that are not in Blob."""
        if not unwritten.written(record):
            return []
        uri, environ = self.daemon(record).opened()
        seconds = _LAZY_SECONDS if lazy else unwritten.ASK_SECONDS
        found = unwritten.missing(record, operation, environ, uri, seconds)
        # The process itself has such files open for ever; who writes still, has them open through the mount.
        writes = (
            {Path(one.file).relative_to(record.path) for one in program.open_files(record.path)} if found else set()
        )
        return [file for file in found if file.relative_to(record.cache) not in writes]

    def _hide(self, record: Record, *, lazy: bool) -> None:
        if problem := showing.hide(record.path, self._environ, lazy=lazy, table=self._table):
            raise MountError(f"{record.path} cannot be unmounted", cause=problem, path=record.path)

    def undo(self, record: Record) -> None:
        """Takes away whatever a mount that failed has made so far."""
        there = mountinfo.at(record.path, self._table)
        if there is not None and there.blobfuse:
            self.daemon(record).wipe()
        else:
            self._hide(record, lazy=True)
        self._records.forget(record)

    def clear(self, record: Record, operation: Operation[Any], uri: BlobUri | None = None, *, ask: bool = True) -> None:
        """Takes away whatever is left of a mount, and proves it; the files of a process that still writes stay.

        What a dead process had written is kept, and told, unless Blob says that it is there (`ask`).
        """
        if record.engine != "blobfuse2":
            self._hide(record, lazy=True)
        elif record.starting or mountinfo.at(record.path, self._table) is not None:
            self.daemon(record).wipe()
        if mountinfo.at(record.path, self._table) is not None:
            raise MountError(
                f"{record.path} is still mounted", next_step=f"as root: umount -l {record.path}", path=record.path
            )
        mountpoint.unmake(record.path, made=record.made)
        if record.engine == "blobfuse2" and program.serving(record.path):
            self._records.folder(record.path).write(record.but(ending=True))
        else:
            self.keep(record, operation, uri, ask=ask)
            self._records.forget(record)

    def keep(self, record: Record, operation: Operation[Any], uri: BlobUri | None = None, *, ask: bool = True) -> None:
        """Moves what a dead process had not written to Blob out of its cache, and tells where it is."""
        files = unwritten.missing(record, operation, self._environ, uri) if ask else unwritten.written(record)
        if (left := self.unwritten.keep(record, files)) is not None:
            operation.note(str(left), unwritten=left.to_dict())

    def sweep(self) -> None:
        """Removes what is left of mounts that were unmounted while something was open, when all of it is written."""
        for record in self._records:
            if record.ending:
                with self._records.free(record.path) as free:
                    now = self._records.get(record.path) if free else None
                    if now is not None and now.ending and state_of(now, self._table)[0] == "gone":
                        # A process that ends by itself empties its cache; one that was killed does not.
                        self.unwritten.keep(now, unwritten.written(now))
                        self._records.forget(now)
