"""Blobs that become other blobs: the service copies them where it can, else their bytes pass through this machine."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azray_lab.errors import AzRayError
from azray_lab.spec.uri import has_account_in_path
from azray_lab.storage.engine import Upload, faults
from azray_lab.storage.engine.checksums import CRC64, Check, chosen
from azray_lab.storage.engine.engine import BLOCK
from azray_lab.storage.engine.flights import Job, fly
from azray_lab.storage.places import Item, block_size

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.engine import Engine, Entry

Place = tuple[str, str]
# Statuses by which a service says that it may not, or cannot, read the source.
_REFUSED = frozenset({400, 401, 403, 404})
# What is kept with a blob beside its bytes, by the header that tells it and the one that sets it.
_KEPT = {
    "content-type": "x-ms-blob-content-type",
    "content-encoding": "x-ms-blob-content-encoding",
    "content-language": "x-ms-blob-content-language",
    "content-disposition": "x-ms-blob-content-disposition",
    "cache-control": "x-ms-blob-cache-control",
    "content-md5": "x-ms-blob-content-md5",
}
_BLOCKS = 8


class Crossing:
    """The way from one account to another, or to itself, for all blobs of a copy."""

    def __init__(
        self, reader: Engine, writer: Engine, operation: Operation[Any], *, check: Check, quiet: bool = False
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.check = check
        self.operation = operation
        self.within = reader.account.endpoint == writer.account.endpoint
        self._lock = threading.Lock()
        self._told = quiet
        self.by_service = self.within or self._reachable()

    def item(self, source: Place, entry: Entry, target: Place) -> Item:
        """The file of the copy for one blob."""
        kind = BlobToBlob if self.by_service else BlobThroughHere
        return kind(self, source, entry, target)

    def address(self, source: Place) -> str:
        """The source's address, with what opens it to another account."""
        wire = self.reader.wire
        return wire.address(*source) if self.within else wire.address(*source) + wire.signature(*source)

    def _reachable(self) -> bool:
        ends = [urlsplit(engine.account.endpoint).netloc for engine in (self.reader, self.writer)]
        if has_account_in_path(ends[1]) and ends[0] != ends[1]:
            self.pass_through("an emulator reads no other service's blobs")
        elif not self.reader.wire.can_sign:
            self.pass_through(f"{self.reader.account.opener} opens the source for this machine only")
        else:
            return True
        return False

    def pass_through(self, reason: str) -> None:
        """From now on the bytes pass through this machine, which is said once."""
        with self._lock:
            self.by_service = False
            told, self._told = self._told, True
        if not told:
            self.operation.note(f"the bytes pass through this machine: {reason}", reason=reason)


class BlobToBlob(Item):
    """A blob that becomes another one; the service copies the version `entry.etag` of it."""

    def __init__(self, crossing: Crossing, source: Place, entry: Entry, target: Place) -> None:
        names = crossing.reader.wire.place(*source), crossing.writer.wire.place(*target)
        super().__init__(*names, entry.size, max(entry.size, 1))
        self._crossing = crossing
        self._ends = source, target
        self._entry = entry

    @property
    def cost(self) -> int:
        """No byte passes here; unless the service refuses."""
        return 0 if self._crossing.within else _BLOCKS * BLOCK

    def move(self, offset: int, length: int) -> None:
        """Asks for the copy and waits until it is done."""
        del offset, length
        crossing, (source, target) = self._crossing, self._ends
        if crossing.by_service:
            check = crossing.operation.check
            try:
                crossing.writer.copy(crossing.address(source), target, check, etag=self._entry.etag)
            except AzRayError as error:
                if crossing.within or error.facts.get("status") not in _REFUSED:
                    raise
                crossing.pass_through(f"the service may not read the source ({error.facts.get('code')})")
            else:
                return
        BlobThroughHere(crossing, source, self._entry, target).run()


class BlobThroughHere(Item):
    """A blob that becomes one of another account; its bytes pass through this machine, 8 MiB at a time.

    What is kept with it goes along: metadata, media type and the other properties, and the tier where one was set.
    """

    def __init__(self, crossing: Crossing, source: Place, entry: Entry, target: Place) -> None:
        reader, writer = crossing.reader, crossing.writer
        super().__init__(reader.wire.place(*source), writer.wire.place(*target), entry.size, block_size(entry.size))
        self._crossing = crossing
        self._ends = source, target
        self._entry = entry
        self._upload: Upload | None = None

    def run(self) -> None:
        """All parts, eight at a time."""
        offsets = range(0, max(self.size, 1), self.step)
        self.begin()
        for _ in fly((Job(functools.partial(self.part, offset), self.step) for offset in offsets), flights=_BLOCKS):
            pass

    def begin(self) -> None:
        """Looks at what is kept with the blob. One request."""
        found = self._crossing.reader.stat(*self._ends[0])
        if found is None or found.etag != self._entry.etag:
            raise faults.changed(self.source, "it is another version now")
        wire, check = self._crossing.writer.wire, self._crossing.check
        self._upload = Upload(wire, *self._ends[1], kept_headers(found), check=check)

    def move(self, offset: int, length: int) -> None:
        """Reads a part and writes it."""
        reader, check = self._crossing.reader, self._crossing.check
        etag = self._entry.etag
        data = reader.get_bytes(*self._ends[0], offset, offset + length, etag, check=check) if length else b""
        if self._at_once:
            self._sending().whole(data)
        else:
            self._sending().write(offset, data)

    def finish(self) -> None:
        """Makes the blob of its blocks."""
        if not self._at_once:
            self._sending().finish()

    @property
    def _at_once(self) -> bool:
        # A request may not have both a CRC64 of what travels and the MD5 that is to be kept.
        return self.single and chosen(self._crossing.check) is not CRC64

    def _sending(self) -> Upload:
        if self._upload is None:  # pragma: no cover - `begin` comes first
            raise faults.changed(self.source, "it was not begun")
        return self._upload


def kept_headers(entry: Entry) -> dict[str, str]:
    """The headers that give another blob what is kept with this one."""
    facts = dict(entry.facts)
    kept = {setter: facts[told] for told, setter in _KEPT.items() if facts.get(told)}
    kept |= {name: value for name, value in facts.items() if name.startswith("x-ms-meta-")}
    if facts.get("x-ms-access-tier") and facts.get("x-ms-access-tier-inferred", "").lower() != "true":
        kept["x-ms-access-tier"] = facts["x-ms-access-tier"]
    return kept
