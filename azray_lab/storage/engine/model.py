"""The plain values of the engine: a name in a container, bytes of a blob with the version they are of."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

# What every request says; the newest version that Azurite 3.35, Azure Stack and the sovereign clouds all answer.
# Names that XML cannot hold are percent-encoded in listings since 2021-02-12.
API_VERSION = "2023-11-03"
KiB = 1024
MiB = 1024 * KiB
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}


class Entry(NamedTuple):
    """A blob, a folder or a container as the service tells it. `etag` has its quotes; `changed` is an HTTP date.

    A tuple, for a listing makes 100,000 of them.
    """

    kind: Literal["blob", "folder", "container"]
    name: str
    size: int = 0
    etag: str = ""
    changed: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    """More headers of a single blob, with lower-case names: `content-type`, `content-md5`, `x-ms-meta-...`."""
    raw: str = ""
    """The name of the blob that stands for a folder, when it is another one: `d` for `d/`."""

    @property
    def stored(self) -> str:
        """The name by which the service knows it."""
        return self.raw or self.name

    @property
    def modified(self) -> datetime | None:
        """When it was last written, in UTC."""
        return http_date(self.changed)

    def fact(self, name: str) -> str:
        """The header `name` (lower case) of the blob; empty when there is none."""
        return dict(self.facts).get(name, "")

    @property
    def metadata(self) -> dict[str, str]:
        """The user's own names and values."""
        return {name[10:]: value for name, value in self.facts if name.startswith("x-ms-meta-")}


class Block(NamedTuple):
    """Some bytes of a blob. `data` is a buffer (bytes or like them), `size` the whole blob's.

    `checksum` is that of `data`, in base64, where one was asked for.
    """

    data: Any
    size: int
    etag: str
    checksum: str = ""


class Begun(NamedTuple):
    """A read whose answer has begun: the blob's size and version are known, `body()` waits for its bytes."""

    size: int
    etag: str
    body: Callable[[], Block]


def http_now() -> str:
    """The date of a request, in the same form."""
    now = time.gmtime()
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_NAMES[now.tm_mon - 1]} {now.tm_year} {clock} GMT"


@functools.lru_cache(maxsize=4096)
def http_date(text: str) -> datetime | None:
    """`Sat, 21 Nov 2026 03:01:00 GMT` (RFC 9110, 5.6.7) as a value; None for what is none."""
    try:
        _, day, month, year, clock, _ = text.split(" ")
        hour, minute, second = clock.split(":")
        return datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    except (ValueError, KeyError):
        return None
