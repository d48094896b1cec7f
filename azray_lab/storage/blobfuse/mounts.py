"""The door of this package: mounts by their path, for the session layer and for targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, MountError, UnsupportedError
from azray_lab.spec import settings
from azray_lab.storage.blobfuse import (
    capacity,
    closing,
    copies,
    mountinfo,
    mountpoint,
    plans,
    probe,
    program,
    request,
    unwritten,
)
from azray_lab.storage.blobfuse.copies import Copy
from azray_lab.storage.blobfuse.daemon import Daemon, explained
from azray_lab.storage.blobfuse.health import Health, health, kept, state_of
from azray_lab.storage.blobfuse.records import USER, Folder, Record, Records, place

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.blobs import Found
    from azray_lab.storage.blobfuse.plans import Plan
    from azray_lab.storage.blobfuse.profiles import Setting
    from azray_lab.storage.blobfuse.request import Request

MOUNT_SECONDS = 60.0
WAIT_SECONDS = 30.0
_ENDING_SECONDS = 10.0


class Mounts:
    """All mounts of this home. `environ` is where credentials and PATH come from, `table` the kernel's mounts."""

    def __init__(
        self,
        root: Path | None = None,
        environ: Mapping[str, str] | None = None,
        table: Path = mountinfo.TABLE,
        device: Path = request.DEVICE,
    ) -> None:
        self.records = Records(root)
        self.environ = settings.process_environment() if environ is None else environ
        self._table = table
        self._device = device

    @property
    def unwritten(self) -> unwritten.Unwritten:
        """What dead mounts have left that is not in Blob."""
        return unwritten.Unwritten(self.records)

    # Mounting.

    def mount(self, wanted: Request, operation: Operation[Any], seconds: float = MOUNT_SECONDS) -> Record:
        """Mounts, and returns when the folder answers; the same mount again is the one that is there.

        Fails within `seconds` (a copy takes as long as its bytes do) with the reason, and leaves nothing behind.
        """
        path = place(wanted.path)
        self._sweep()
        with self.records.lock(path, operation):
            planned = self._plan(wanted, operation)
            record = planned.record
            if (there := self._reused(record, operation, wanted.uri)) is not None:
                return there
            made = mountpoint.make(path)
            folder = self.records.folder(path)
            try:
                folder.make()
                record = self._start(record, wanted, operation, seconds, planned.found).but(made=made)
                folder.write(record)
            except BaseException:
                with operation.shielded():
                    self._undo(record)
                    mountpoint.unmake(path, made=made)
                raise
            return record

    def obstacle(self) -> AzRayError | None:
        """Why blobfuse2 cannot work here; None when nothing is in the way."""
        return request.obstacle(self.environ, self._device)

    def plan(self, wanted: Request, operation: Operation[Any] | None = None, *, anyway: bool = False) -> Record:
        """The mount as it would be made, with the engine chosen; at most a second of listing, and nothing is made.

        `anyway`: as it would be on a machine like this one on which blobfuse2 works, where it does not here.
        """
        return self._plan(wanted, operation, anyway=anyway).record

    def _plan(self, wanted: Request, operation: Operation[Any] | None, *, anyway: bool = False) -> Plan:
        problem = None if anyway and wanted.fallback != "copy" else self.obstacle()
        return plans.plan(wanted, self.records, self.environ, problem, operation)

    def explain(self, record: Record) -> list[Setting]:
        """Every setting of blobfuse2 for that mount with its reason, its layers first; none for a copy."""
        return [] if record.engine == "hydrate" else explained(record, self._capacity(record))

    def _capacity(self, record: Record) -> capacity.Capacity:
        return capacity.measure(Path(record.cache))

    def _reused(self, record: Record, operation: Operation[Any], uri: BlobUri) -> Record | None:
        """The mount that is there already and is the same, with one more owner; what is dead is cleared away.

        What lives is never ended: MountError for one that does not answer, DeadlineError for one that still writes.
        """
        old = self.records.get(record.path)
        there = mountinfo.at(record.path, self._table)
        state, reason = state_of(old, self._table) if old is not None else ("gone", "")
        if old is not None and state == "mounted":
            if not old.same(record):
                raise mountpoint.taken(record, f"{old.uri} as {old.profile} by {old.engine}")
            kept = old.but(owners=tuple(dict.fromkeys((*old.owners, *record.owners))), ending=False)
            self.records.folder(record.path).write(kept)
            return kept
        if old is not None:
            mountpoint.check_dead(old, state, reason)
            if state == "ending":
                self._daemon(old).wait(operation, _ENDING_SECONDS)
            self._clear(old, operation, uri if str(uri) == old.uri else None)
        elif there is not None and there.blobfuse and self._dead(record.path):
            program.detach(record.path, self.environ)
        elif there is not None:
            raise mountpoint.taken(record, f"a {there.kind} from {there.source}")
        return None

    def _undo(self, record: Record) -> None:
        """Takes away whatever a mount that failed has made so far."""
        there = mountinfo.at(record.path, self._table)
        if there is not None and there.blobfuse:
            self._daemon(record).wipe()
        elif problem := copies.hide(record.path, self.environ, lazy=True, table=self._table):
            raise MountError(f"{record.path} cannot be unmounted", cause=problem, path=record.path)
        self.records.forget(record)

    def _dead(self, path: str) -> bool:
        answer = probe.answers(path)
        return answer.number == probe.LOST or (answer.silent and not program.serving(path))

    def _start(
        self, record: Record, wanted: Request, operation: Operation[Any], seconds: float, found: list[Found] | None
    ) -> Record:
        if record.engine == "hydrate":
            return self._copy(record, wanted, operation, found)
        with operation.stage("mount", f"{record.uri} at {record.path}") as stage:
            try:
                done = self._daemon(record, wanted.uri).start(self._capacity(record), operation, seconds)
            except UnsupportedError as error:
                if wanted.fallback != "copy":
                    raise
                problem = error
            else:
                stage.summary = f"{done.profile}, blobfuse2 as process {done.pid}"
                return done
        why = f"a read-only copy, because {problem.message}: {problem.cause}"
        operation.note(why)
        return self._copy(plans.copied(record, wanted, self.records).but(why=why), wanted, operation, found)

    def _daemon(self, record: Record, uri: BlobUri | None = None) -> Daemon:
        return Daemon(record, self.records.folder(record.path), self.environ, self._table, uri)

    def _copy(self, record: Record, wanted: Request, operation: Operation[Any], found: list[Found] | None) -> Record:
        copy = Copy(Path(record.cache))
        room = plans.room(copy.root)
        used = [Path(other.cache) for other in self.records if other.engine == "hydrate"]
        with copy.lock(operation):
            copies.make_room(copy.root.parent, 0, room, [*used, copy.root])
            copy.sync(wanted.uri, operation, room + copy.size(), self.environ, found)
            done = record.but(linked=copies.show(copy.files, record.path, self.environ))
            # Before the lock goes: by the record another mount sees that this copy is in use.
            self.records.folder(record.path).write(done)
        return done

    # Unmounting.

    def unmount(
        self, path: str, operation: Operation[Any], *, owner: str = USER, wait: float = WAIT_SECONDS, lazy: bool = False
    ) -> bool:
        """Unmounts when `owner` was the last who wanted it; True when the folder is gone from the tree.

        Waits up to `wait` seconds for files that are open, then says which and by whom (MountError, nothing changed);
        with `lazy` it goes at once, and what is open is written when it is closed.
        """
        path = place(path)
        with self.records.lock(path, operation):
            record = self.records.get(path)
            if record is None:
                self._unmount_foreign(path, operation, lazy=lazy)
                return True
            left = tuple(other for other in record.owners if other != owner)
            if left and owner in record.owners:
                self.records.folder(path).write(record.but(owners=left))
                return False
            with operation.stage("unmount", path):
                state, reason = state_of(record, self._table)
                if not lazy:
                    mountpoint.check_dead(record, state, reason)
                if state == "mounted":
                    if not lazy:
                        closing.closed(path, operation, wait)
                    self._stop(record, operation, lazy=lazy)
                elif state == "ending" and not lazy:
                    self._daemon(record).wait(operation, wait)
                self._clear(record, operation, ask=not lazy)
            return True

    def _unmount_foreign(self, path: str, operation: Operation[Any], *, lazy: bool) -> None:
        there = mountinfo.at(path, self._table)
        if there is None or not there.blobfuse:
            raise MountError(
                f"nothing of ours is mounted at {path}", next_step="azray mounts", path=path,
                cause=f"a {there.kind} from {there.source} is" if there else "the kernel lists no mount there",
            )  # fmt: skip
        if self._dead(path):
            program.detach(path, self.environ)
            return
        if not lazy:
            closing.closed(path, operation, WAIT_SECONDS)
        record = Record(uri="", path=path, profile="shared", engine="blobfuse2", created=0.0)
        Daemon(record, Folder(self.records.root), self.environ, self._table).stop(operation, lazy=lazy)

    def _stop(self, record: Record, operation: Operation[Any], *, lazy: bool) -> None:
        if record.engine == "blobfuse2":
            # From here on nobody brings it back or takes its cache, whatever happens to this process.
            folder = self.records.folder(record.path)
            folder.write(record.but(ending=True))
            try:
                self._daemon(record).stop(operation, lazy=lazy)
            except BaseException:
                if mountinfo.at(record.path, self._table) is not None:
                    folder.write(record)
                raise
        elif problem := copies.hide(record.path, self.environ, lazy=lazy, table=self._table):
            raise MountError(f"{record.path} cannot be unmounted", cause=problem, path=record.path)

    def _clear(
        self, record: Record, operation: Operation[Any], uri: BlobUri | None = None, *, ask: bool = True
    ) -> None:
        """Takes away whatever is left of a mount, and proves it; the files of a process that still writes stay.

        What a dead process had written is kept, and told, unless Blob says that it is there (`ask`).
        """
        if record.engine == "blobfuse2":
            if mountinfo.at(record.path, self._table) is not None:
                self._daemon(record).wipe()
        elif problem := copies.hide(record.path, self.environ, lazy=True, table=self._table):
            raise MountError(f"{record.path} cannot be unmounted", cause=problem, path=record.path)
        if mountinfo.at(record.path, self._table) is not None:
            raise MountError(
                f"{record.path} is still mounted", next_step=f"as root: umount -l {record.path}", path=record.path
            )
        mountpoint.unmake(record.path, made=record.made)
        if record.engine == "blobfuse2" and program.serving(record.path):
            self.records.folder(record.path).write(record.but(ending=True))
        else:
            self._keep(record, operation, uri, ask=ask)
            self.records.forget(record)

    def _keep(self, record: Record, operation: Operation[Any], uri: BlobUri | None = None, *, ask: bool = True) -> None:
        """Moves what a dead process had not written to Blob out of its cache, and tells where it is."""
        files = unwritten.missing(record, operation, self.environ, uri) if ask else unwritten.written(record)
        if (left := self.unwritten.keep(record, files)) is not None:
            operation.note(str(left), unwritten=left.to_dict())

    def _sweep(self) -> None:
        """Removes what is left of mounts that were unmounted while something was open, when all of it is written."""
        for record in self.records:
            if record.ending:
                with self.records.free(record.path) as free:
                    now = self.records.get(record.path) if free else None
                    if now is not None and now.ending and state_of(now, self._table)[0] == "gone":
                        # A process that ends by itself empties its cache; one that was killed does not.
                        self.unwritten.keep(now, unwritten.written(now))
                        self.records.forget(now)

    # Looking, mending.

    def health(self, record: Record) -> Health:
        """How a mount of ours is; at most five seconds when it does not answer."""
        return health(record, self.records.folder(record.path), self._table)

    def __iter__(self) -> Iterator[Health]:
        """Every mount of ours, those of blobfuse2 that others made, and what dead ones have left."""
        self._sweep()
        ours = list(self.records)
        yield from (self.health(record) for record in ours)
        known = {record.path for record in ours}
        for there in mountinfo.read(self._table):
            if there.blobfuse and there.path not in known:
                record = Record(uri="", path=there.path, profile="shared", engine="blobfuse2", created=0.0, owners=())
                yield health(record, Folder(self.records.root / "none"), self._table)
        yield from map(kept, self.unwritten)

    def mend(self, path: str, operation: Operation[Any], seconds: float = MOUNT_SECONDS) -> Record:
        """Brings back a mount whose process died or whose folder is no longer in the tree; a healthy one stays."""
        path = place(path)
        with self.records.lock(path, operation):
            record = self.records.get(path)
            if record is None:
                raise MountError(f"nothing of ours is mounted at {path}", next_step="azray mounts", path=path)
            state, reason = state_of(record, self._table)
            if state == "mounted":
                return record
            mountpoint.check_dead(record, state, reason)
            if state == "ending" or record.ending:
                raise MountError(
                    f"{path} was unmounted", cause=reason, next_step="close what is open, then azray mount", path=path
                )
            folder = self.records.folder(path)
            if record.engine == "hydrate":
                copies.hide(path, self.environ, lazy=True, table=self._table)
                again = record.but(linked=copies.show(Copy(Path(record.cache)).files, path, self.environ))
            elif record.signed:
                raise mountpoint.signature_lost(record)
            else:
                self._daemon(record).wipe()
                self._keep(record, operation)
                Path(path).mkdir(exist_ok=True)
                with operation.stage("mount", f"{record.uri} at {path} again"):
                    again = self._daemon(record).start(self._capacity(record), operation, seconds)
            folder.write(again)
            return again
