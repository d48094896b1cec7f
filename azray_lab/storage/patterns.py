"""Blobs and folders by a pattern: what matches it, what lies below folders that match, and their names in a copy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from azray_lab.errors import UsageError
from azray_lab.storage.engine.model import Entry

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import Engine

_WILD = re.compile(r"[*?\[]")
# A set's own characters: none that could end it or mean something else inside of it, but a range.
_SET = re.compile(r"\[!?[^\]/^&~|]+\]")
_TOKEN = re.compile(r"\*\*|\[!?[^\]/^&~|]+\]|.", re.DOTALL)


def wild(path: str) -> bool:
    """Whether a path has a character that is special in a pattern."""
    return _WILD.search(path) is not None


def pattern(text: str) -> re.Pattern[str]:
    """`*` any characters but `/`, `**` any at all, `?` one but `/`, `[abc]` and `[!abc]` one of a set, or not of it."""
    return re.compile("".join(_as_regex(token) for token in _TOKEN.findall(text)), re.DOTALL)


def _as_regex(token: str) -> str:
    known = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in known or not _SET.fullmatch(token):
        return known.get(token, re.escape(token))
    inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def below(path: str) -> str:
    """What the names of all that lies in the folder `path` begin with; empty for a whole container."""
    return f"{path.rstrip('/')}/" if path else ""


def base(path: str) -> str:
    """The folder, with its slash, in which `path` lies; of a pattern: all before its first part that is special."""
    found = _WILD.search(path)
    head = path[: found.start()] if found else path.rstrip("/")
    return head[: head.rfind("/") + 1]


def relative(name: str, path: str) -> str:
    """A blob's or folder's name for who asked for `path`: inside that folder, else below its `base`."""
    for start in (below(path), base(path)):
        if name.startswith(start) and name != start:
            return name[len(start) :]
    return name


def is_placeholder(entry: Entry) -> bool:
    """Whether it stands for a folder: on accounts with a hierarchical namespace, and as some tools leave it."""
    return entry.kind == "folder" or (entry.name.endswith("/") and not entry.size)


def matching(engine: Engine, uri: BlobUri, *, recursive: bool) -> Iterator[Entry]:
    """The blobs that match the pattern `uri`, and the folders that do, each once, by names that end with a slash.

    `recursive`: in place of such a folder all that lies below it, blobs and what stands for folders. A pattern that
    ends with a slash means folders only. Lists what begins like it, up to its first special character, and no deeper
    than it has to; in constant memory but for the folders.
    """
    shape = _Shape(uri.path)
    told: set[str] = set()
    for entry in engine.list(uri.container, shape.begin, "/" if shape.flat and not recursive else ""):
        fits = shape.is_blob(entry)
        above = "" if fits else shape.folder_of(entry.name)
        if fits or (recursive and above):
            yield entry
        elif above and above not in told:
            told.add(above)
            yield Entry("folder", above)


class _Shape:
    def __init__(self, path: str) -> None:
        text = path.rstrip("/")
        rest = text[len(base(text)) :]
        self.begin = _WILD.split(text, maxsplit=1)[0]
        self.flat = "/" not in rest and "**" not in rest
        self._fits = pattern(text).fullmatch
        self._blobs = not path.endswith("/")
        self._last = ""

    def is_blob(self, entry: Entry) -> bool:
        return self._blobs and not is_placeholder(entry) and self._fits(entry.name) is not None

    def folder_of(self, name: str) -> str:
        """The first folder above `name`, or the one that it stands for, that matches; empty: none does."""
        if self._last and name.startswith(self._last):
            return self._last
        end = name.find("/")
        while end >= 0:
            if self._fits(name, 0, end):
                self._last = name[: end + 1]
                return self._last
            end = name.find("/", end + 1)
        return ""


def leave_out(uri: BlobUri, folders: int, *, nothing: bool, operation: Operation[Any] | None) -> None:
    """Tells that `folders` that match are left out: a note or, when `nothing` else matches, UsageError."""
    if not folders:
        return
    words = "1 folder that matches" if folders == 1 else f"{folders} folders that match"
    step = "add -r (recursive=True in Python) for what is in them"
    if nothing:
        raise UsageError(f"nothing but folders matches {uri}", cause=words, next_step=step, left_out=folders)
    if operation is not None:
        operation.note(f"left out {words}: {step}", left_out=folders)
