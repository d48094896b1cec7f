"""The spec while it is put together: file below environment below flags, each value with its place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from azray_lab.spec import fields
from azray_lab.spec.models import ClusterSpec
from azray_lab.spec.problems import DEFAULT, Loc, Place, Problem, closest, dotted, spec_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from azray_lab.spec.document import Document


class Layers:
    """Plain data with the place of each value; what is assigned later wins."""

    def __init__(self, document: Document, base: Place) -> None:
        self.base = base
        self.data: Any = fields.expand(ClusterSpec, document.data)
        self.values = {(): base} | document.values
        self.keys = dict(document.keys)

    def locate(self, parts: Sequence[str], place: Place, join: str = ".") -> Loc:
        """The location that `parts` name; a worker group is named by its name or its index. SpecError if unknown.

        Where free keys stand (labels, env), the rest is one key, joined by `join`.
        """
        annotation: Any = ClusterSpec
        loc: Loc = ()
        for i, part in enumerate(parts):
            if fields.is_mapping(annotation):
                return (*loc, join.join(parts[i:]))
            found = self._index(loc, part, place) if fields.is_list(annotation) else part
            if (annotation_below := fields.child(annotation, found)) is None:
                raise self._unknown(parts, i, annotation, place)
            annotation, loc = annotation_below, (*loc, found)
        return loc

    def _index(self, loc: Loc, part: str, place: Place) -> int:
        items = self.at(loc)
        items = items if isinstance(items, list) else []
        names = [str(item.get("name", "worker")) if isinstance(item, dict) else "" for item in items]
        if part in names:
            return names.index(part)
        if part.isdecimal() and int(part) <= len(items):
            return int(part)
        key = dotted(loc)
        there = f"there are {', '.join(filter(None, names))}" if any(names) else f"there are {len(items)} of them"
        step = f"use {key}.{near}" if (near := closest(part, names)) else "azray spec show"
        raise spec_error([Problem(place, key, f"{key} has no entry {part!r}", there, step)])

    def _unknown(self, parts: Sequence[str], i: int, annotation: Any, place: Place) -> Exception:
        key = ".".join(parts[: i + 1])
        owner = fields.model(annotation)
        if owner is None:
            cause = f"{'.'.join(parts[:i])} is one value and has no keys"
            return spec_error([Problem(place, key, f"unknown key {key!r}", cause, "azray spec show")])
        near = closest(parts[i], owner.model_fields)
        known = f"the keys there are {', '.join(owner.model_fields)}"
        step = f"did you mean {'.'.join([*parts[:i], near])}?" if near else "azray spec show"
        return spec_error([Problem(place, key, f"unknown key {key!r}", known, step)])

    def at(self, loc: Loc) -> Any:
        """What stands at a location, None where nothing does."""
        here = self.data
        for part in loc:
            here = _below(here, part)
        return here

    def assign(self, loc: Loc, value: Any, place: Place) -> None:
        """Lets `value` win at `loc`; mappings are merged key by key, lists are replaced as a whole."""
        if self.data is None:
            self.data = {}
        if loc == ("workers",) and isinstance(value, int) and not isinstance(value, bool):
            self._assign_worker_count(value, place)
            return
        if isinstance(value, dict) and isinstance(self.at(loc), dict | None):
            self._assign_mapping(loc, value, place)
            return
        self._put(loc, value, place)
        self.data = fields.expand(ClusterSpec, self.data)

    def _assign_mapping(self, loc: Loc, value: Mapping[str, Any], place: Place) -> None:
        if self.at(loc) is None:
            self._put(loc, {}, place)
        for key, inner in value.items():
            self.assign((*loc, key), inner, place)

    def _assign_worker_count(self, count: int, place: Place) -> None:
        # A number over written groups means "as many of these", never "others, of another kind".
        groups = self.at(("workers",))
        if not isinstance(groups, list) or not groups:
            self._put(("workers",), count, place)
            self.data = fields.expand(ClusterSpec, self.data)
        elif len(groups) > 1:
            names = [str(g.get("name", "worker")) if isinstance(g, dict) else "?" for g in groups]
            cause = f"one number cannot be divided among {', '.join(names)}"
            step = f"--set workers.{names[0]}.count={count}"
            raise spec_error(
                [Problem(place, "workers", f"workers is {count}, but there are several groups", cause, step)]
            )
        elif isinstance(groups[0], dict):
            groups[0] = {key: value for key, value in groups[0].items() if key not in ("count", "min", "max")}
            self._put(("workers", 0, "count"), count, place)

    def _put(self, loc: Loc, value: Any, place: Place) -> None:
        holder = self.data
        for part, below in itertools.pairwise(loc):
            holder = self._step(holder, part, below)
        # What is neither mapping nor list is wrong already, and the check of the whole will say so.
        if isinstance(holder, dict) or (isinstance(holder, list) and isinstance(loc[-1], int)):
            if isinstance(holder, list) and loc[-1] == len(holder):
                holder.append(value)
            else:
                holder[loc[-1]] = value  # type: ignore[index]
            for places in (self.values, self.keys):
                for old in [known for known in places if known[: len(loc)] == loc]:
                    del places[old]
                places[loc] = place

    @staticmethod
    def _step(holder: Any, part: str | int, below: str | int) -> Any:
        if isinstance(holder, dict):
            if holder.get(str(part)) is None:
                holder[str(part)] = [] if isinstance(below, int) else {}
            return holder[str(part)]
        if isinstance(holder, list) and isinstance(part, int):
            if part == len(holder):
                holder.append({})
            return holder[part]
        return None

    def written(self, loc: Loc) -> Loc:
        """The longest part of `loc` at which something was written; a short form stands for what is below it."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return loc

    def place(self, loc: Loc) -> Place:
        """Where the value at `loc` was written, or what it is part of."""
        return self.values[self.written(loc)]

    def key_place(self, loc: Loc) -> Place:
        """Where the key at `loc` was written."""
        return self.keys.get(loc) or self.place(loc)

    def source(self, loc: Loc) -> Place:
        """Where the value at `loc` comes from, `default` when nobody gave it."""
        here = self.data
        for part in loc:
            if isinstance(here, dict) and part not in here:
                return DEFAULT
            here = _below(here, part)
        return self.place(loc)


def _below(holder: Any, part: str | int) -> Any:
    if isinstance(holder, dict):
        return holder.get(part)
    inside = isinstance(holder, list) and isinstance(part, int) and part < len(holder)
    return holder[part] if inside else None
