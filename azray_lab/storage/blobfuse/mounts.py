"""The door of this package: mounts by their path, for the session layer and for targets."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, MountError, UnsupportedError
from azray_lab.spec import settings
from azray_lab.storage.blobfuse import (
    asking,
    blobs,
    capacity,
    copies,
    mountinfo,
    mountpoint,
    nesting,
    plans,
    program,
    request,
    showing,
)
from azray_lab.storage.blobfuse.copies import Copy
from azray_lab.storage.blobfuse.daemon import explained
from azray_lab.storage.blobfuse.ending import WAIT_SECONDS, Ending
from azray_lab.storage.blobfuse.health import Health, health, kept, quick, state_of
from azray_lab.storage.blobfuse.records import USER, Folder, Record, Records, named, place

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.blobs import Found
    from azray_lab.storage.blobfuse.plans import Plan
    from azray_lab.storage.blobfuse.profiles import Setting
    from azray_lab.storage.blobfuse.request import Request
    from azray_lab.storage.blobfuse.unwritten import Unwritten

MOUNT_SECONDS = 60.0
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
        self._ending = Ending(self.records, self.environ, table)

    @property
    def unwritten(self) -> Unwritten:
        """What mounts have left that is not in Blob."""
        return self._ending.unwritten

    # Mounting.

    def mount(self, wanted: Request, operation: Operation[Any], seconds: float = MOUNT_SECONDS) -> Record:
        """Mounts, and returns when the folder answers; the same mount again is the one that is there.

        Fails within `seconds` (a copy takes as long as its bytes do) with the reason, and leaves nothing behind.
        """
        path, end = place(wanted.path, self.records), time.monotonic() + seconds
        if path != (link := named(wanted.path)):
            operation.note(f"{link} is a link: mounting at {path}, to which it leads")
        self._ending.sweep()
        with self.records.lock(path, operation), mountpoint.told(path):
            if (there := self._reused(wanted, path, operation)) is not None:
                return there
            nesting.check_outside(path, self.records, self._table)
            mountpoint.check_cache(wanted.cache, path)
            planned = self._checked(self._plan(wanted, operation, end), wanted, operation, end)
            return self._made(planned, wanted, operation, end - time.monotonic())

    def _checked(self, planned: Plan, wanted: Request, operation: Operation[Any], end: float) -> Plan:
        """The same plan; errors in a moment for what blobfuse2 says late, and a copy of nothing for which it is."""
        self.explain(planned.record)
        seen, left = planned.seen, end - time.monotonic()
        if seen is None and asking.OWN_WAY & dict(wanted.overrides).keys():
            return planned
        there = bool(seen.blobs) if seen is not None else asking.anything(wanted.uri, self.environ, operation, left)
        if not there:
            asking.check_folder(wanted.uri, self.environ, operation, end - time.monotonic())
            asking.check_use(planned.record, operation)
        return planned

    def _made(self, planned: Plan, wanted: Request, operation: Operation[Any], seconds: float) -> Record:
        """The mount, made; without a trace when it cannot be."""
        made, folder = mountpoint.make(planned.record.path), self.records.folder(planned.record.path)
        record = planned.record.but(made=made)
        try:
            self._save_orphan(record, folder, operation)
            folder.make()
            # First the record: whoever is killed from now on, the mount is found, mended and taken away.
            folder.write(record.but(starting=True))
            record = self._start(record, wanted, operation, seconds, planned.found)
            folder.write(record)
        except BaseException:
            with operation.shielded():
                self._ending.undo(record)
                mountpoint.unmake(record.path, made=made)
            raise
        return record

    def _save_orphan(self, record: Record, folder: Folder, operation: Operation[Any]) -> None:
        """Keeps what lies in the cache of a mount that nobody knows any more, and that is not in Blob."""
        if folder.cache.is_dir():
            lost = record.but(created=0.0, read_only=False, engine="blobfuse2", cache=str(folder.cache))
            self._ending.keep(lost, operation)

    def obstacle(self) -> AzRayError | None:
        """Why blobfuse2 cannot work here; None when nothing is in the way."""
        return request.obstacle(self.environ, self._device)

    def plan(self, wanted: Request, operation: Operation[Any] | None = None, *, anyway: bool = False) -> Record:
        """The mount as it would be made, with the engine chosen; at most a second of listing, and nothing is made.

        `anyway`: as it would be on a machine like this one on which blobfuse2 works, where it does not here.
        """
        return self._plan(wanted, operation, anyway=anyway).record

    def _plan(
        self, wanted: Request, operation: Operation[Any] | None, end: float | None = None, *, anyway: bool = False
    ) -> Plan:
        problem = None if anyway and wanted.fallback != "copy" else self.obstacle()
        left = plans.LOOK_SECONDS if end is None else end - time.monotonic()
        return plans.plan(wanted, self.records, self.environ, problem, operation, left)

    def explain(self, record: Record) -> list[Setting]:
        """Every setting of blobfuse2 for that mount with its reason, its layers first; none for a copy."""
        return [] if record.engine == "hydrate" else explained(record, self._capacity(record))

    def _capacity(self, record: Record) -> capacity.Capacity:
        return capacity.measure(Path(record.cache))

    def _reused(self, wanted: Request, path: str, operation: Operation[Any]) -> Record | None:
        """The mount that is there already and does what is wanted, with one more owner; what is dead is cleared away.

        What lives is never ended: MountError for one that does not answer, DeadlineError for one that still writes.
        """
        old = self.records.get(path)
        there = mountinfo.at(path, self._table)
        state, reason = state_of(old, self._table) if old is not None else ("gone", "")
        if old is not None and state == "mounted":
            if other := plans.differs(old, wanted, self.records):
                raise mountpoint.taken(str(wanted.uri), path, other)
            kept = old.but(owners=tuple(dict.fromkeys((*old.owners, wanted.owner))), ending=False, starting=False)
            self.records.folder(path).write(kept)
            return kept
        if old is not None:
            mountpoint.check_dead(old, state, reason)
            if state == "ending":
                self._ending.daemon(old).wait(operation, _ENDING_SECONDS)
            self._ending.clear(old, operation, wanted.uri if str(wanted.uri) == old.uri else None)
        elif there is not None and there.blobfuse and self._ending.dead(path):
            program.detach(path, self.environ)
        elif there is not None:
            raise mountpoint.taken(str(wanted.uri), path, f"{there.kind} ({there.source})", ours=there.blobfuse)
        return None

    def _start(
        self, record: Record, wanted: Request, operation: Operation[Any], seconds: float, found: list[Found] | None
    ) -> Record:
        if record.engine == "hydrate":
            return self._copy(record, wanted, operation, found)
        with operation.stage("mount", f"{record.uri} at {record.path}") as stage:
            try:
                done = self._ending.daemon(record, wanted.uri).start(self._capacity(record), operation, seconds)
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

    def _copy(self, record: Record, wanted: Request, operation: Operation[Any], found: list[Found] | None) -> Record:
        base = Copy(Path(record.cache))
        with base.lock(operation), contextlib.ExitStack() as stack:
            found = list(blobs.listed(wanted.uri, self.environ)) if found is None else found
            others = [one for one in self.records if one.engine == "hydrate" and one.path != record.path]
            copy = _unshared(base, {Path(one.cache) for one in others if quick(one, self._table) == "mounted"}, found)
            if copy.root != base.root:
                stack.enter_context(copy.lock(operation))
                copy.begin_from(base)
            room = functools.partial(plans.room, copy.root)
            in_use = [copy.root, base.root, *(Path(one.cache) for one in others)]
            copies.make_room(copy.root.parent, sum(b.size for b in found) - copy.size(), room, in_use)
            copy.sync(wanted.uri, operation, room() + copy.size(), self.environ, found)
            done, folder = record.but(cache=str(copy.root)), self.records.folder(record.path)
            folder.write(done.but(starting=True))
            done = done.but(linked=showing.show(copy.files, record.path, self.environ))
            # Before the lock goes: by the record another mount sees that this copy is in use.
            folder.write(done)
        return done

    # Unmounting.

    def unmount(
        self, path: str, operation: Operation[Any], *, owner: str = USER, wait: float = WAIT_SECONDS, lazy: bool = False
    ) -> bool:
        """Unmounts when `owner` was the last who wanted it; True when the folder is gone from the tree.

        Waits up to `wait` seconds for files that are open, then says which and by whom (MountError, nothing changed);
        with `lazy` it goes at once, with what is mounted in it, and what is open is written when it is closed. What was
        closed and is not in Blob all the same is kept, and told.
        """
        return self._ending.unmount(path, operation, owner=owner, wait=wait, lazy=lazy)

    # Looking, mending.

    def health(self, record: Record) -> Health:
        """How a mount of ours is; at most five seconds when it does not answer."""
        return health(record, self.records.folder(record.path), self._table)

    def __iter__(self) -> Iterator[Health]:
        """Every mount of ours, those of blobfuse2 that others made, and what dead ones have left."""
        self._ending.sweep()
        ours = list(self.records)
        yield from (self.health(record) for record in ours if not self.records.busy(record))
        known = {record.path for record in ours}
        for there in mountinfo.read(self._table):
            if there.blobfuse and there.path not in known:
                yield self._unknown(there.path)
        yield from map(kept, self.unwritten)

    def _unknown(self, path: str) -> Health:
        """How a mount is that no record tells of: one of ours whose record is lost, or one that others made."""
        if (lost := self.records.get(path)) is not None:
            return self.health(lost)
        record = Record(uri="", path=path, profile="shared", engine="blobfuse2", created=0.0, owners=())
        return health(record, Folder(self.records.root / "none"), self._table)

    def mend(self, path: str, operation: Operation[Any], seconds: float = MOUNT_SECONDS) -> Record:
        """Brings back a mount whose process died or whose folder is no longer in the tree; a healthy one stays."""
        path = place(path, self.records)
        with self.records.lock(path, operation), mountpoint.told(path):
            record = self.records.get(path)
            if record is None:
                raise MountError(f"nothing of ours is mounted at {path}", next_step="azray mounts", path=path)
            state, reason = state_of(record, self._table)
            if state != "mounted":
                mountpoint.check_dead(record, state, reason)
                if state == "ending" or record.ending:
                    step = "close what is open, then azray mount"
                    raise MountError(f"{path} was unmounted", cause=reason, next_step=step, path=path)
                record = self._again(record, operation, seconds)
            elif not record.starting:
                return record
            done = record.but(starting=False)
            self.records.folder(path).write(done)
            return done

    def _again(self, record: Record, operation: Operation[Any], seconds: float) -> Record:
        """The mount, made once more at its path; a folder that had to be made for it goes when that fails."""
        if record.engine == "hydrate":
            mountpoint.check_whole(record)
            showing.hide(record.path, self.environ, lazy=True, table=self._table)
        elif record.signed:
            raise mountpoint.signature_lost(record)
        else:
            self._ending.daemon(record).wipe()
            self._ending.keep(record, operation)
        made, folder = mountpoint.make(record.path), self.records.folder(record.path)
        again = record.but(made=made or record.made)
        folder.write(again.but(starting=True, pid=0, started=0.0))
        try:
            return self._shown(again, operation, seconds)
        except BaseException:
            folder.write(record)
            mountpoint.unmake(record.path, made=made)
            raise

    def _shown(self, record: Record, operation: Operation[Any], seconds: float) -> Record:
        if record.engine == "hydrate":
            return record.but(linked=showing.show(Copy(Path(record.cache)).files, record.path, self.environ))
        with operation.stage("mount", f"{record.uri} at {record.path} again"):
            return self._ending.daemon(record).start(self._capacity(record), operation, seconds)


def _unshared(base: Copy, shown: set[Path], found: list[Found]) -> Copy:
    """The copy that may become what `found` is: no mount shows it, or it is that already."""
    several = (base.generation(number) if number > 1 else base for number in itertools.count(1))
    return next(copy for copy in several if copy.root not in shown or copy.fresh(found))
