"""What is in a storage account, as people see it: containers, folders and blobs, also by a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.storage.engine import Engine, engine_for, faults

if TYPE_CHECKING:
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import Entry

_WILD = re.compile(r"[*?\[]")
# A set's own characters: none that could end it or mean something else inside of it, but a range.
_SET = re.compile(r"\[!?[^\]/^&~|]+\]")
_TOKEN = re.compile(r"\*\*|\[!?[^\]/^&~|]+\]|.", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """A container, folder or blob; `size` in bytes and `etag` for a blob only. `modified` has its time zone."""

    kind: Literal["container", "folder", "blob"]
    uri: BlobUri
    size: int | None = None
    modified: datetime | None = None
    etag: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain JSON."""
        modified = self.modified.isoformat() if self.modified else None
        return {"type": self.kind, "uri": str(self.uri), "size": self.size, "modified": modified}

    @classmethod
    def of(cls, entry: Entry, uri: BlobUri) -> Found:
        """The entry, with its place: `uri` is that of the container."""
        if entry.kind == "container":
            return cls("container", replace(uri, container=entry.name, path=""), modified=entry.modified)
        place = replace(uri, path=entry.name)
        if entry.kind == "folder":
            return cls("folder", place)
        return cls("blob", place, entry.size, entry.modified, entry.etag)


def found_at(uri: BlobUri, environ: Mapping[str, str] | None = None, *, recursive: bool = False) -> Iterator[Found]:
    """What is at `uri`: a blob itself, what a folder or container holds, the containers of an account.

    With `*`, `?` or `[...]` in its path: the blobs that match it (see `pattern`). One request for each 5,000 names, and
    one more to see whether `uri` is a blob. `recursive` goes into folders and gives blobs only. Raises
    BlobNotFoundError when nothing is there.
    """
    engine = engine_for(uri, environ)
    if not uri.container:
        yield from (Found.of(one, uri) for one in engine.containers())
        return
    nothing = True
    for entry in _entries(engine, uri, recursive=recursive):
        nothing = False
        yield Found.of(entry, uri)
    if nothing and uri.path and not is_empty_folder(engine, uri):
        raise missing(engine, uri)


def _entries(engine: Engine, uri: BlobUri, *, recursive: bool) -> Iterator[Entry]:
    itself = blob(engine, uri)
    if itself is not None:
        yield itself
    elif wild(uri.path):
        yield from matching(engine, uri)
        return
    yield from inside(engine, uri, recursive=recursive)


def blob(engine: Engine, uri: BlobUri) -> Entry | None:
    """The blob `uri`, or None when there is none of exactly that name, or it stands for a folder. One request."""
    if not uri.path or uri.path.endswith("/"):
        return None
    found = engine.stat(uri.container, uri.path)
    return None if found is None or stands_for_folder(found) else found


def stands_for_folder(entry: Entry) -> bool:
    """Whether a blob that was looked at is a folder's: of a hierarchical namespace, or left by other tools."""
    metadata = {name.lower(): value.lower() for name, value in entry.metadata.items()}
    return metadata.get("hdi_isfolder") == "true" or entry.fact("x-ms-resource-type") == "directory"


def is_empty_folder(engine: Engine, uri: BlobUri) -> bool:
    """Whether a blob stands for the folder `uri`, in which nothing was found. One request."""
    found = engine.stat(uri.container, uri.path.rstrip("/"))
    if found is None and uri.path.endswith("/"):
        found = engine.stat(uri.container, uri.path)
    return found is not None and (stands_for_folder(found) or (found.name.endswith("/") and not found.size))


def inside(engine: Engine, uri: BlobUri, *, recursive: bool) -> Iterator[Entry]:
    """What the folder or container `uri` holds, in the order of the names; nothing when there is no such folder.

    What stands for a folder itself is left out: on accounts with a hierarchical namespace, and after some tools, `a/`
    or `a` is a blob too.
    """
    prefix = f"{uri.path.rstrip('/')}/" if uri.path else ""
    for entry in engine.list(uri.container, prefix, "" if recursive else "/"):
        if entry.name == prefix or (recursive and entry.kind == "folder") or _placeholder(entry):
            continue
        yield entry


def _placeholder(entry: Entry) -> bool:
    return entry.kind == "blob" and entry.name.endswith("/") and not entry.size


def wild(path: str) -> bool:
    """Whether a path has a character that is special in a pattern."""
    return _WILD.search(path) is not None


def matching(engine: Engine, uri: BlobUri) -> Iterator[Entry]:
    """The blobs that match the pattern `uri`; lists only what begins like it, up to its first special character."""
    prefix = uri.path[: _WILD.search(uri.path).start()] if wild(uri.path) else uri.path  # type: ignore[union-attr]
    fits = pattern(uri.path).fullmatch
    for entry in engine.list(uri.container, prefix):
        if entry.kind == "blob" and fits(entry.name):
            yield entry


def pattern(text: str) -> re.Pattern[str]:
    """`*` any characters but `/`, `**` any at all, `?` one but `/`, `[abc]` and `[!abc]` one of a set, or not of it."""
    return re.compile("".join(_as_regex(token) for token in _TOKEN.findall(text)), re.DOTALL)


def _as_regex(token: str) -> str:
    known = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in known or not _SET.fullmatch(token):
        return known.get(token, re.escape(token))
    inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def missing(engine: Engine, uri: BlobUri) -> Exception:
    """The error for a blob or folder that is not there."""
    place = engine.wire.place(uri.container, uri.path)
    return faults.missing(place, "BlobNotFound", engine.account, {"uri": place, "status": 404, "code": "BlobNotFound"})
