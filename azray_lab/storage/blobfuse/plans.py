"""A mount before it is made: its record, with the engine chosen by a look at the data and at the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.storage.blobfuse import asking, blobs, capacity, profiles, request
from azray_lab.storage.blobfuse.copies import Copy
from azray_lab.storage.blobfuse.records import Record, Records, place

if TYPE_CHECKING:
    from azray_lab.errors import AzRayError
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.blobs import Found
    from azray_lab.storage.blobfuse.request import Request

# Below a cache folder of the user's own: copies lie beside each other there.
_COPIES = "azray-copies"
LOOK_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """The record of the mount as it would be made; `seen` is what a look told, where there was one.

    `found` are the blobs, when it has seen them all.
    """

    record: Record
    found: list[Found] | None
    seen: request.Look | None = None


def plan(
    wanted: Request,
    records: Records,
    environ: Mapping[str, str],
    problem: AzRayError | None,
    operation: Operation[Any] | None,
    seconds: float = LOOK_SECONDS,
) -> Plan:
    """How `wanted` would be mounted; `problem` is why FUSE cannot work here. At most a second of listing.

    StorageError when the service says nothing for `seconds`, as for all that cannot be listed.
    """
    seen: request.Look | None = None
    found: list[Found] = []
    if wanted.profile in {"dataset", "models"}:
        with asking.within(seconds, wanted.uri, operation) as stop:
            seen = request.look(blobs.listed(wanted.uri, environ, stop), into=found)
    space = room(Path(wanted.cache) if wanted.cache else records.root)
    chosen = request.choose(wanted, seen, space, problem)
    if operation is not None:
        operation.note(f"{chosen.engine}: {chosen.why}", engine=chosen.engine)
    path = place(wanted.path, records)
    record = Record(
        uri=str(wanted.uri), path=path, profile=wanted.profile, engine=chosen.engine, created=time.time(),
        why=chosen.why, small=chosen.small, access=chosen.access, allow_other=wanted.allow_other,
        read_only=wanted.only_read or chosen.engine == "hydrate", overrides=dict(wanted.overrides),
        cache=str(records.cache(path, wanted.cache)), signed=bool(wanted.uri.sas), owners=(wanted.owner,),
    )  # fmt: skip
    record = copied(record, wanted, records) if chosen.engine == "hydrate" else record
    return Plan(record, found if seen is not None and seen.complete else None, seen)


def copied(record: Record, wanted: Request, records: Records) -> Record:
    """The same mount as a copy on the local disk."""
    return record.but(
        engine="hydrate", read_only=True, cache=str(Copy.of(_copies(wanted.cache, records), record.uri).root)
    )


def _copies(cache: str, records: Records) -> Path:
    """The folder of all copies."""
    return Path(cache) / _COPIES if cache else records.root.parent / "copies"


def differs(old: Record, wanted: Request, records: Records) -> str:
    """What `wanted` asks for that the mount `old` at its path is not, in words; empty when that mount serves it."""
    if old.uri != str(wanted.uri) or old.profile != wanted.profile:
        return f"{old.uri} as {old.profile}"
    there, copy = f"{old.uri} as {old.profile} by {old.engine}", old.engine == "hydrate"
    will_do = copy and (wanted.engine == "hydrate" or wanted.fallback == "copy")
    settings = (wanted.allow_other, dict(wanted.overrides)) == (old.allow_other, dict(old.overrides))
    kind = "read-only" if old.read_only else "writable"
    reasons = {
        there: wanted.engine not in {"auto", old.engine} and not will_do,
        f"{there}, {kind},": wanted.only_read != old.read_only and not will_do,
        f"{there}, with its cache in {old.cache},": wanted.cache and not _cached(old, wanted.cache, records),
        f"{there} for {old.access} access": not copy and wanted.access not in {"auto", old.access},
        f"{there}, with other settings,": not copy and not settings,
    }
    return next((words for words, differ in reasons.items() if differ), "")


def _cached(old: Record, cache: str, records: Records) -> bool:
    """Whether the mount `old` has its cache below the folder `cache`."""
    if old.engine == "hydrate":
        return Path(old.cache).parent == _copies(cache, records)
    return old.cache == str(records.cache(old.path, cache))


def room(folder: Path) -> int:
    """How many bytes a copy in `folder` may take."""
    return profiles.disk_room(capacity.measure(folder))
