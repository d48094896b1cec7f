"""The local side of a copy: which files a folder has, and what blobs are called as files."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StorageError

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri


# What a copy calls a file on its way (see `Landing`); after a kill it stays.
_UNFINISHED = re.compile(r"\..*\.[0-9a-f]{8}\.part")


class Names:
    """What blobs are called as files below `folder`: never outside of it, and never two the same."""

    def __init__(self, folder: str | Path | BlobUri, *, folds: bool | None = None) -> None:
        self._folder = Path(str(folder))
        self._folds = folds
        self._seen: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """The file for the blob `name`; StorageError when it cannot be one, or is another's but for its case."""
        if "\0" in name or any(part in {"", ".", ".."} for part in name.split("/")):
            raise StorageError(
                f"the blob {name!r} cannot be a local file",
                cause="a part of its name is empty, `.` or `..`, or holds a zero byte",
                next_step="copy it alone, under another name",
                name=name,
            )
        if self._folds is None:
            self._folds = folds_case(self._folder)
        if self._folds and (other := self._seen.setdefault(name.casefold(), name)) != name:
            raise StorageError(
                f"the blobs {other!r} and {name!r} would be one file",
                cause="the file system of the destination does not tell upper from lower case",
                next_step="copy one of them alone, under another name",
                names=[other, name],
            )
        return self._folder / name


def folds_case(folder: Path) -> bool:
    """Whether names below `folder` that differ in case only are one file: tried in the nearest folder that exists."""
    there = next((one for one in (folder, *folder.absolute().parents) if one.is_dir()), Path())
    probe = there / f".azray-{secrets.token_hex(4)}-x"
    try:
        probe.touch(exist_ok=False)
    except OSError:  # nothing can be written here: the copy will say so
        return False
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def files_in(folder: Path, left_out: list[str]) -> Iterator[Path]:
    """The regular files below `folder`, by name; the names of other things are added to `left_out`.

    Those are links to folders, which are not followed, broken links, special files and what a copy that was killed has
    left, relative to `folder`.
    """
    for here, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        links = (Path(here) / name for name in folders if (Path(here) / name).is_symlink())
        left_out += [path.relative_to(folder).as_posix() for path in links]
        for name in sorted(names):
            path = Path(here) / name
            if path.is_file() and not _UNFINISHED.fullmatch(name):
                yield path
            else:
                left_out.append(path.relative_to(folder).as_posix())


def tell_left_out(left_out: Sequence[str], operation: Operation[Any]) -> None:
    """A note that says how many things `files_in` left out, if any."""
    if left_out:
        words = f"left out {len(left_out)} links to folders, broken links, special files and unfinished copies"
        operation.note(words, left_out=len(left_out))


def _unreadable(error: OSError) -> None:
    raise StorageError(
        f"{error.filename} cannot be read", cause=error.strerror or str(error), next_step=f"ls -ld {error.filename}"
    ) from error
