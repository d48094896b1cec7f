"""What is mounted, from the kernel's own table. Reading it never touches a mount, so it cannot hang on a dead one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# What blobfuse2 calls itself as the source of its mounts (libfuse's `fsname`, 2.5).
SOURCE = "blobfuse2"
TABLE = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountPoint:
    """One line of the table: where, what kind, which source, and the minor number of its device."""

    path: str
    kind: str
    source: str
    minor: int
    read_only: bool

    @property
    def blobfuse(self) -> bool:
        """Whether blobfuse2 made it."""
        return self.source == SOURCE


def parse(text: str) -> list[MountPoint]:
    """The mounts of a table in the form of /proc/PID/mountinfo (proc_pid_mountinfo(5)), in its order."""
    out = []
    for line in text.split("\n"):  # splitlines() would also split at characters that a path may have
        left, dash, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if dash and len(fields) > 5 and len(kinds) > 1:  # noqa: PLR2004 - the columns up to the options
            minor = int(fields[2].partition(":")[2])
            out.append(MountPoint(_plain(fields[4]), kinds[0], _plain(kinds[1]), minor, "ro" in fields[5].split(",")))
    return out


def _plain(text: str) -> str:
    # Blanks, tabs, newlines and backslashes are written as octal numbers.
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text).encode("latin-1", "replace").decode(errors="replace")


def read(table: Path = TABLE) -> list[MountPoint]:
    """What is mounted now, as this process sees it."""
    # Bytes above 127 stand as they are; latin-1 keeps them for `_plain`.
    return parse(table.read_text(encoding="latin-1"))


def at(path: str | Path, table: Path = TABLE) -> MountPoint | None:
    """The uppermost mount at exactly `path`, None when there is none."""
    found = [mount for mount in read(table) if mount.path == str(path)]
    return found[-1] if found else None
