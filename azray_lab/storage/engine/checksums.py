"""Checksums of what travels: MD5, which Azure also keeps with a blob, and CRC64, which costs next to nothing.

Azure's CRC64 is CRC-64/NVME (polynomial 0x9A6C9329AC4BC9B5, reflected), its eight bytes the lowest first, in base64:
https://learn.microsoft.com/rest/api/storageservices/put-block#request-headers
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from azray_lab.errors import UsageError, nearest

# What callers say; True is MD5.
Check = bool | Literal["md5", "crc64"]
NAMES = ("crc64", "md5")


class Checksum(NamedTuple):
    """A kind of checksum: `of` some bytes in base64, the `header` in which it travels, and the one that asks for it."""

    name: str
    of: Callable[[Any], str]
    header: str
    asks: str
    answered: bool
    """Whether the service says what it found when bytes were sent to it; for MD5 some emulators do not."""


def chosen(check: Check) -> Checksum | None:
    """The checksum that a caller asks for; None for none of them, UsageError for a name that is none."""
    if check is False:
        return None
    name = "md5" if check is True else check
    if name not in _KINDS:
        raise UsageError(f"there is no checksum {name!r}.{nearest(name, NAMES)}", next_step="say crc64 or md5")
    return _KINDS[name]


def md5_of(parts: Iterable[Any]) -> str:
    """The MD5 of all parts after each other, in base64, as Azure keeps it with a blob."""
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return base64.b64encode(digest.digest()).decode()


def crc64_of(data: Any) -> str:
    """The CRC64 of a buffer; some 25 GB/s."""
    from awscrt.checksums import crc64nvme

    return base64.b64encode(crc64nvme(data).to_bytes(8, "little")).decode()


def _md5(data: Any) -> str:
    return md5_of([data])


MD5 = Checksum("MD5", _md5, "Content-MD5", "x-ms-range-get-content-md5", answered=False)
CRC64 = Checksum("CRC64", crc64_of, "x-ms-content-crc64", "x-ms-range-get-content-crc64", answered=True)
_KINDS = {"md5": MD5, "crc64": CRC64}
