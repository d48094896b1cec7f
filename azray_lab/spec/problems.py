"""Where a value of a spec stands, what is wrong with it, and how several such problems become one error."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azray_lab.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Loc = tuple[str | int, ...]
"""The way from the spec to a value: keys of mappings and indices of lists."""


def dotted(loc: Loc) -> str:
    """A location as people write it: `workers.0.count`."""
    return ".".join(str(part) for part in loc)


@dataclass(frozen=True)
class Place:
    """Where a value came from; `line` and `column` count from 1 and are 0 where there is no file."""

    label: str
    line: int = 0
    column: int = 0
    file: str = ""

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label

    def facts(self) -> dict[str, Any]:
        """The place as facts of an error."""
        return {"file": self.file, "line": self.line, "column": self.column} if self.line else {"source": self.label}


DEFAULT = Place("default")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: at which place and key, what, why, and how to mend it."""

    place: Place
    key: str
    message: str
    cause: str = ""
    next_step: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.cause})" if self.cause else "")

    def to_dict(self) -> dict[str, Any]:
        """The problem as facts of an error."""
        words = {"message": self.message, "cause": self.cause, "next_step": self.next_step}
        return self.place.facts() | {"key": self.key} | words


def spec_error(problems: Sequence[Problem]) -> SpecError:
    """One error for at least one problem: the first is its message, all stand in `cause` and in facts `problems`."""
    first, *others = sorted(problems, key=lambda p: (p.place.file == "", p.place.line, p.place.column))
    message, cause = f"{first.place}: {first.message}", first.cause
    if others:
        message += f" (and {len(others)} more)"
        cause = "; ".join([cause or first.message, *(f"also {other}" for other in others)])
    facts = first.place.facts() | {"key": first.key, "problems": [p.to_dict() for p in (first, *others)]}
    return SpecError(message, cause=cause, next_step=first.next_step, **facts)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name nearest to `name`, or an empty string when none is near."""
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else ""
