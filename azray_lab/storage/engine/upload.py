"""A blob in the making: its parts are sent in any order and seen at once, or never."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StorageError
from azray_lab.storage.engine.checksums import MD5, Check, chosen

if TYPE_CHECKING:
    from azray_lab.storage.engine.model import Entry
    from azray_lab.storage.engine.wire import Wire


class Upload:
    """A blob in the making: `write` its parts from any thread, in any order, then `finish`; or just drop it."""

    def __init__(self, wire: Wire, container: str, name: str, headers: Mapping[str, str], *, check: Check) -> None:
        self._wire = wire
        self._place = (container, name)
        self._headers = headers
        self._check = check
        # Other writers of the same blob have blocks of other names; all names of a blob are equally long.
        self._mark = os.urandom(8).hex()
        self._sizes: dict[int, int] = {}

    def whole(self, data: Any) -> Entry:
        """All of it by one request, instead of `write` and `finish`."""
        md5 = MD5.of(data) if chosen(self._check) is MD5 else ""
        own = {**self._headers, **({"x-ms-blob-content-md5": md5} if md5 else {})}
        return self._wire.put(*self._place, data, own, check=self._check)

    def write(self, offset: int, data: Any) -> int:
        """Sends a part, which nobody sees yet; how many bytes it had. One request."""
        self._wire.put_block(*self._place, self._block(offset), data, check=self._check)
        self._sizes[offset] = len(data)
        return len(data)

    def finish(self, md5: str = "") -> Entry:
        """Makes the blob of all parts, by their offsets; StorageError where one is missing. One request."""
        self._check_whole()
        headers = {**self._headers, **({"x-ms-blob-content-md5": md5} if md5 else {})}
        blocks = [self._block(offset) for offset in sorted(self._sizes)]
        return self._wire.commit(*self._place, blocks, sum(self._sizes.values()), headers)

    def _check_whole(self) -> None:
        end = 0
        for offset, size in sorted(self._sizes.items()):
            if offset != end:
                raise StorageError(
                    f"{self._wire.place(*self._place)} was not written",
                    cause=f"the parts sent end at byte {end}, the next one begins at {offset}",
                    next_step="write it again",
                )
            end = offset + size

    def _block(self, offset: int) -> str:
        return base64.b64encode(f"{self._mark}{offset:016d}".encode()).decode()


def type_of(name: str) -> str:
    """The media type that a blob of that name gets; an encoding would make browsers unpack, so a .gz is just bytes."""
    import mimetypes

    kind, encoding = mimetypes.guess_type(name)
    return kind if kind and not encoding else "application/octet-stream"
