"""What a container holds, at a glance: a tree of it, and totals of its folders; one pass over the names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from azray_lab.storage.engine import engine_for
from azray_lab.storage.listing import blob, found_at, held, missing
from azray_lab.storage.patterns import below, relative
from azray_lab.storage.transfer import size_text

if TYPE_CHECKING:
    from azray_lab.spec.uri import BlobUri

# A tree of more lines is no help to anyone.
_MOST_LINES = 2_000


def totals(uri: BlobUri, environ: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """How many blobs and bytes are in each folder directly below `uri` (`.`: those in none), and in all, at the end.

    Of a pattern: what matches, and what is in the folders that match.
    """
    if not uri.container:
        return _of_containers(uri, environ)
    engine = engine_for(uri, environ)
    folders: dict[str, list[int]] = {}
    if (itself := blob(engine, uri)) is not None:
        start, entries = below(uri.path), iter([itself])
    else:
        start, entries = held(engine, uri, recursive=True)
    for entry in entries:
        head, slash, _ = entry.name[len(start) :].partition("/")
        counts = folders.setdefault(f"{head}/" if slash else ".", [0, 0])
        counts[0] += 1
        counts[1] += entry.size
    if not folders and uri.path:
        raise missing(engine, uri)
    return _with_sum(folders, str(uri))


def _of_containers(uri: BlobUri, environ: Mapping[str, str] | None) -> list[dict[str, Any]]:
    folders = {}
    for container in found_at(uri, environ):
        whole = totals(container.uri, environ)[-1]
        folders[f"{container.uri.container}/"] = [whole["blobs"], whole["bytes"]]
    return _with_sum(folders, str(uri))


def _with_sum(folders: Mapping[str, list[int]], name: str) -> list[dict[str, Any]]:
    rows = [{"name": folder, "blobs": blobs, "bytes": size} for folder, (blobs, size) in sorted(folders.items())]
    blobs, size = (sum(counts[i] for counts in folders.values()) for i in (0, 1))
    return [*rows, {"name": name, "blobs": blobs, "bytes": size}]


def draw(uri: BlobUri, depth: int, environ: Mapping[str, str] | None) -> tuple[str, dict[str, Any]]:
    """The tree below `uri` as text and as nested values: a folder has `children`, a blob its `size`."""
    root: dict[str, Any] = {"name": str(uri), "type": "folder", "children": {}}
    for name, size in _names(uri, environ):
        _add(root, name, size, depth)
    lines = [root["name"]]
    _lines(root, "", lines)
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"... and {len(lines) - _MOST_LINES} more; `azray blob du` counts them"]
    return "\n".join(lines), _plain(root)


def _names(uri: BlobUri, environ: Mapping[str, str] | None) -> Iterator[tuple[str, int]]:
    if uri.container:
        for found in found_at(uri, environ, recursive=True):
            yield relative(found.uri.path, uri.path), found.size or 0
        return
    for container in found_at(uri, environ):
        for name, size in _names(container.uri, environ):
            yield f"{container.uri.container}/{name}", size


def _add(root: dict[str, Any], name: str, size: int, depth: int) -> None:
    *folders, last = name.split("/")
    here = root
    for level, folder in enumerate(folders, 1):
        here = here["children"].setdefault(f"{folder}/", {"name": f"{folder}/", "type": "folder", "children": {}})
        if level == depth:
            here["blobs"], here["size"] = here.get("blobs", 0) + 1, here.get("size", 0) + size
            return
    here["children"][last] = {"name": last, "type": "blob", "size": size}


def _lines(node: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    children = list(node["children"].values())
    for child in children:
        last = child is children[-1]
        name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in child["name"])
        text = f"{indent}{'`-- ' if last else '|-- '}{name}"
        if "size" in child:
            blobs = f"{child['blobs']} blobs, " if "blobs" in child else ""
            text += f"  ({blobs}{size_text(child['size'])})"
        lines.append(text)
        if child.get("children"):
            _lines(child, indent + ("    " if last else "|   "), lines)


def _plain(node: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(node)
    if "children" in node:
        out["children"] = [_plain(child) for child in node["children"].values()]
    return out
