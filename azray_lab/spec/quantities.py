"""Durations and sizes as people write them: `30m`, `8h`, `1h30m`, `2GiB`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_BYTES = {"": 1, "B": 1}
_BYTES |= {f"{p}{s}": 1024 ** (i + 1) for i, p in enumerate("KMGT") for s in ("i", "iB")}
_BYTES |= {f"{p}{s}": 1000 ** (i + 1) for i, p in enumerate("KMGT") for s in ("", "B")}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)")

TEN_YEARS = 10 * 365 * 86400


def parse_duration(value: object) -> int:
    """Seconds of `30m`, `8h`, `1h30m`, `90s`, `2d` or a whole number of seconds; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a duration is written like 30m, 8h or 1h30m")
    if isinstance(value, int) or value.isdecimal():
        return int(value)
    match = _DURATION.fullmatch(value.strip())
    if not match or not value.strip():
        raise ValueError(f"{value!r} is no duration; write it like 30m, 8h or 1h30m")
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
    match = _SIZE.fullmatch(value.strip())
    if not match or match[2] not in _BYTES:
        raise ValueError(f"{value!r} is no size; write it like 2GiB or 500MB")
    return int(float(match[1]) * _BYTES[match[2]])


Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    Field(ge=1, le=TEN_YEARS),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$", "examples": ["30m"]}),
]
"""A duration of one second to ten years; seconds in Python, `30m` in YAML and JSON."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(ge=1, le=2**50),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["2GiB"]}),
]
"""A number of bytes up to 1 PiB; `2GiB` in YAML."""
