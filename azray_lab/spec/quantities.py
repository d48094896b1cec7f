"""Durations and sizes as people write them: `30m`, `8h`, `1h30m`, `2GiB`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# At most nine digits each: no more than ten years are wanted, and int() refuses thousands of digits with its own words.
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_SECONDS = re.compile(r"[0-9]{1,9}")
_DURATION_SCHEMA = r"^([0-9]{1,9}|(?=[0-9])([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?)$"
_BYTES = {"": 1, "B": 1}
_BYTES |= {f"{p}{s}": 1024 ** (i + 1) for i, p in enumerate("KMGT") for s in ("i", "iB")}
_BYTES |= {f"{p}{s}": 1000 ** (i + 1) for i, p in enumerate("KMGT") for s in ("", "B")}
_SIZE = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,9})?) ?([KMGT]i?B?|B)?")
_SIZE_SCHEMA = r"^[0-9]{1,16}(\.[0-9]{1,9})? ?([KMGT]i?B?|B)?$"

TEN_YEARS = 10 * 365 * 86400
LARGEST_SIZE = 2**50


def parse_duration(value: object) -> int:
    """Seconds of `30m`, `8h`, `1h30m`, `90s`, `2d` or a whole number of seconds; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a duration is written like 30m, 8h or 1h30m")
    if isinstance(value, int) or _SECONDS.fullmatch(value):
        return int(value)
    match = _DURATION.fullmatch(value)
    if not match or not value:
        raise ValueError(f"{value[:40]!r} is no duration; write it like 30m, 8h or 1h30m")
    return sum(int(part) * unit for part, unit in zip(match.groups("0"), (86400, 3600, 60, 1), strict=True))


def format_duration(seconds: float) -> str:
    """The shortest way to write `seconds`, which `parse_duration` reads back: 5400 -> `1h30m`."""
    rest, out = int(seconds), ""
    for letter, unit in sorted(_UNITS.items(), key=lambda item: -item[1]):
        count, rest = divmod(rest, unit)
        out += f"{count}{letter}" if count else ""
    return out or "0s"


def parse_size(value: object) -> int:
    """Bytes of `2GiB`, `500MB`, `1.5G` or a whole number of bytes; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a size is written like 2GiB or 500MB")
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value)
    if not match:
        raise ValueError(f"{value[:40]!r} is no size; write it like 2GiB or 500MB")
    # Exact: what is allowed is below 2**53.
    return int(float(match[1]) * _BYTES[match[2] or ""])


def format_size(size: int) -> str:
    """`size` bytes in the largest binary unit that divides it, which `parse_size` reads back: 2**31 -> `2GiB`."""
    for power, letter in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{letter}iB"
    return str(size)


Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    Field(ge=1, le=TEN_YEARS),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _DURATION_SCHEMA},
                {"type": "integer", "minimum": 1, "maximum": TEN_YEARS},
            ]
        }
    ),
]
"""A duration of one second to ten years; seconds in Python, `30m` in YAML and JSON."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(ge=1, le=LARGEST_SIZE),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _SIZE_SCHEMA},
                {"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE},
            ]
        }
    ),
]
"""A number of bytes up to 1 PiB; `2GiB` in YAML."""
