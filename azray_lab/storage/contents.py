"""What a local folder holds that can be sent: files by their names, and folders without any."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from azray_lab.storage.engine.landing import local


@dataclass(frozen=True)
class Contents:
    """`files` by name below the folder, empty `folders`, and `left_out`: what has no content of its own."""

    files: dict[str, Path] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def contents(folder: Path) -> Contents:
    """All that is below `folder`, in order. Links are followed, to files and to folders.

    Left out are links that point nowhere or to a folder around them, and what is no file, such as sockets. StorageError
    for what cannot be read.
    """
    found = Contents()
    with local(folder, "read"):
        _look(folder, "", [folder.resolve(strict=True)], found)
    return found


def _look(folder: Path, prefix: str, around: list[Path], found: Contents) -> None:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    if prefix and not entries:
        found.folders.append(prefix[:-1])
    for entry in entries:
        name = prefix + entry.name
        if entry.is_file():
            found.files[name] = Path(entry.path)
            continue
        inside = Path(entry.path).resolve() if entry.is_dir() else None
        if inside is None or inside in around:
            found.left_out.append(name)
        else:
            _look(Path(entry.path), f"{name}/", [*around, inside], found)
