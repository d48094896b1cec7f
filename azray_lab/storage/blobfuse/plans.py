"""A mount before it is made: its record, with the engine chosen by a look at the data and at the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.storage.blobfuse import blobs, capacity, profiles, request
from azray_lab.storage.blobfuse.copies import Copy
from azray_lab.storage.blobfuse.records import Record, Records, place

if TYPE_CHECKING:
    from azray_lab.errors import AzRayError
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.blobs import Found
    from azray_lab.storage.blobfuse.request import Request

# Below a cache folder of the user's own: copies lie beside each other there.
_COPIES = "azray-copies"


@dataclass(frozen=True)
class Plan:
    """The record of the mount as it would be made; `found` are the blobs, when a look has seen them all."""

    record: Record
    found: list[Found] | None


def plan(
    wanted: Request,
    records: Records,
    environ: Mapping[str, str],
    problem: AzRayError | None,
    operation: Operation[Any] | None,
) -> Plan:
    """How `wanted` would be mounted; `problem` is why FUSE cannot work here. At most a second of listing."""
    seen: request.Look | None = None
    found: list[Found] = []
    if wanted.profile in {"dataset", "models"}:
        seen = request.look(blobs.listed(wanted.uri, environ), into=found)
    space = room(Path(wanted.cache) if wanted.cache else records.root)
    chosen = request.choose(wanted, seen, space, problem)
    if operation is not None:
        operation.note(f"{chosen.engine}: {chosen.why}", engine=chosen.engine)
    path = place(wanted.path)
    record = Record(
        uri=str(wanted.uri), path=path, profile=wanted.profile, engine=chosen.engine, created=time.time(),
        why=chosen.why, small=chosen.small, access=chosen.access, allow_other=wanted.allow_other,
        read_only=wanted.only_read or chosen.engine == "hydrate", overrides=dict(wanted.overrides),
        cache=str(records.cache(path, wanted.cache)), signed=bool(wanted.uri.sas), owners=(wanted.owner,),
    )  # fmt: skip
    record = copied(record, wanted, records) if chosen.engine == "hydrate" else record
    return Plan(record, found if seen is not None and seen.complete else None)


def copied(record: Record, wanted: Request, records: Records) -> Record:
    """The same mount as a copy on the local disk."""
    base = Path(wanted.cache) / _COPIES if wanted.cache else records.root.parent / "copies"
    return record.but(engine="hydrate", read_only=True, cache=str(Copy.of(base, record.uri).root))


def room(folder: Path) -> int:
    """How many bytes a copy in `folder` may take."""
    return profiles.disk_room(capacity.measure(folder))
