"""The lines that a cluster's nodes and their workers wrote, with the name of their node; followed when asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.errors import UnknownNameError, nearest
from azray_lab.targets.local.folders import WATCHDOG, Folders, plain_lines, tail
from azray_lab.targets.local.snapshot import alive

if TYPE_CHECKING:
    from azray_lab.targets.base import Handle

# What people print goes to worker-*.out and .err; a job's driver writes job-driver-*.log. The rest is Ray's own.
_PATTERNS = ("worker-*.out", "worker-*.err", "job-driver-*.log")
_POLL_SECONDS = 0.2
_CHUNK = 1 << 20


def node_logs(handle: Handle, node: str | None, *, follow: bool) -> Iterator[tuple[str, str]]:
    """Pairs (node, line); with `follow` until the head ends. UnknownNameError for a node that is not there."""
    records = handle.details["nodes"]
    if node == WATCHDOG:
        return ((WATCHDOG, line) for line in plain_lines(tail(Folders.of(handle).log(WATCHDOG))))
    if node is not None and node not in records:
        raise UnknownNameError(
            f"cluster {handle.name} has no node {node!r}",
            cause=f"it has {', '.join(records)}.{nearest(node, records)}",
            next_step=f"azray logs --cluster {handle.name} --node head",
            name=node,
            known=list(records),
        )
    return _read(handle, [node] if node else list(records), follow=follow)


def _read(handle: Handle, names: list[str], *, follow: bool) -> Iterator[tuple[str, str]]:
    offsets: dict[Path, int] = {}
    while True:
        ended = not alive(handle, "head")
        told = False
        for name in names:
            for file in _files(handle, name):
                for line in _news(file, offsets):
                    told = True
                    yield name, line
        if not follow or (ended and not told):
            return
        if not told:
            time.sleep(_POLL_SECONDS)


def _files(handle: Handle, name: str) -> list[Path]:
    folders = Folders.of(handle)
    logs = folders.session(int(handle.details["nodes"][name]["index"])) / "logs"
    return [folders.log(name), *(file for pattern in _PATTERNS for file in sorted(logs.glob(pattern)))]


def _news(file: Path, offsets: dict[Path, int]) -> Iterator[str]:
    """The whole lines that `file` has grown by; at most 1 MiB at a time, so that memory stays bounded."""
    try:
        with file.open("rb") as source:
            source.seek(offsets.get(file, 0))
            data = source.read(_CHUNK)
    except FileNotFoundError:
        return
    whole = data.rfind(b"\n") + 1 or (len(data) if len(data) == _CHUNK else 0)
    offsets[file] = offsets.get(file, 0) + whole
    yield from plain_lines(data[:whole].decode(errors="replace"))
