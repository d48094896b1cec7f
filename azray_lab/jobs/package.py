"""The working directory that travels with a job: walked as git would, zipped the same way each time, checked, sent.

Left out: what `.gitignore` and `.rayignore` files name (in the directory, below it, and above it up to the root of
its git repository), `.git`, virtual environments, Python's and Jupyter's caches.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from azray_lab.errors import JobError, PackageTooLargeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pathspec import GitIgnoreSpec

    from azray_lab.jobs.dashboard import Dashboard

LIMIT = 100 * 1024**2
"""Bytes that the dashboard takes in one upload, of the zip. `DASHBOARD_CLIENT_MAX_SIZE` in ray 2.60's
`_private/ray_constants.py`, used as aiohttp's `client_max_size`: one byte more is refused. The cluster's own store
would take 512 MiB (`GCS_STORAGE_MAX_SIZE` in `_private/runtime_env/packaging.py`), but this is the door to it."""

ALWAYS_LEFT_OUT = frozenset({".git", ".venv", "__pycache__", ".ipynb_checkpoints"})
IGNORE_FILES = (".gitignore", ".rayignore")

_LARGEST_NAMED = 5
# Zip knows no earlier date; a fixed one makes equal directories equal packages.
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Level 6 saves a few percent over this and takes three times as long.
_LEVEL = 2
_BLOCK = 1 << 20


@dataclass(frozen=True)
class File:
    """A file that travels: its path in the package (with `/`), where it lies here, its bytes, its permissions."""

    name: str
    path: Path
    size: int
    mode: int


@dataclass(frozen=True)
class Package:
    """A zip ready to send: `uri` is what `runtime_env` calls it, `size` its bytes, `names` the files it holds."""

    uri: str
    body: IO[bytes]
    size: int
    names: frozenset[str]

    @property
    def path(self) -> str:
        """Where the dashboard keeps it."""
        return "/api/packages/" + self.uri.replace("://", "/")


@contextlib.contextmanager
def build(
    directory: Path,
    injected: Mapping[str, bytes] | None = None,
    *,
    limit: int = LIMIT,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Package]:
    """The package of `directory` with `injected` files on top; the zip lies in a temporary file until the block ends.

    `check` is called for each file, so that a cancelled operation ends here too. Raises UsageError when there is no
    such directory, PackageTooLargeError when the zip would be larger than `limit` bytes; nothing was sent then.
    """
    if not directory.is_dir():
        raise UsageError(f"there is no directory {str(directory)!r}", next_step="--working-dir DIRECTORY")
    files = list(walk(directory))
    with tempfile.TemporaryFile(prefix="azray-package-") as body:
        _write(body, files, injected or {}, limit, check)
        size = body.tell()
        names = frozenset({*(file.name for file in files), *(injected or {})})
        yield Package(f"gcs://_ray_pkg_{_digest(body)}.zip", body, size, names)


def upload(dashboard: Dashboard, package: Package) -> bool:
    """Sends the package unless the cluster has it already (Ray then keeps it from being cleaned up); True when sent."""
    if dashboard.exists(package.path):
        return False
    package.body.seek(0)
    dashboard.put(package.path, package.body, package.size)
    return True


def walk(directory: Path) -> Iterator[File]:
    """The files of `directory` that travel, in the order of their names. Links are followed, each folder once."""
    root = directory.resolve()
    rules = [(base, spec) for base in _above(root) if (spec := _spec(base))]
    yield from _walk(root, root, rules, {root})


def _walk(root: Path, folder: Path, rules: list[tuple[Path, GitIgnoreSpec]], seen: set[Path]) -> Iterator[File]:
    if spec := _spec(folder):
        rules = [*rules, (folder, spec)]
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name in ALWAYS_LEFT_OUT or _ignored(path, rules, folder=entry.is_dir()):
            continue
        if entry.is_dir():
            if (real := path.resolve()) not in seen and not (path / "pyvenv.cfg").exists():
                yield from _walk(root, path, rules, {*seen, real})
        elif entry.is_file():  # neither a socket nor a pipe, nor a link to nowhere
            facts = entry.stat()
            yield File(path.relative_to(root).as_posix(), path, facts.st_size, stat.S_IMODE(facts.st_mode))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> JobError:
    return JobError(
        f"{path} cannot be read and so cannot travel with the job",
        cause=error.strerror or str(error),
        next_step="name it in .gitignore, or choose another directory with --working-dir",
        path=str(path),
    )


def _above(directory: Path) -> list[Path]:
    """The folders above `directory`, root first, down from the one that is a git repository's root."""
    above: list[Path] = []
    folder = directory
    while not (folder / ".git").exists():
        if folder.parent == folder:
            return []
        folder = folder.parent
        above.insert(0, folder)
    return above


def _spec(folder: Path) -> GitIgnoreSpec | None:
    from pathspec import GitIgnoreSpec

    lines: list[str] = []
    for name in IGNORE_FILES:
        path = folder / name
        if path.is_file():
            try:
                lines += path.read_text(errors="replace").splitlines()
            except OSError as error:
                raise _unreadable(path, error) from error
    return GitIgnoreSpec.from_lines(lines) if lines else None


def _ignored(path: Path, rules: list[tuple[Path, GitIgnoreSpec]], *, folder: bool) -> bool:
    # The rule nearest to the file wins, as in git: a deeper .gitignore takes back (`!name`) what an upper one left out.
    for base, spec in reversed(rules):
        name = path.relative_to(base).as_posix()
        if (verdict := spec.check_file(name + "/" if folder else name).include) is not None:
            return verdict
    return False


def _write(
    body: IO[bytes], files: list[File], injected: Mapping[str, bytes], limit: int, check: Callable[[], None]
) -> None:
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for file in files:
            check()
            if file.name not in injected:
                _add(archive, body, file, files, limit)
        for name, content in sorted(injected.items()):
            archive.writestr(_entry(name, 0o644), content, compresslevel=_LEVEL)
    if body.tell() > limit:
        raise _too_large(files, limit)


def _add(archive: zipfile.ZipFile, body: IO[bytes], file: File, files: list[File], limit: int) -> None:
    try:
        with (
            file.path.open("rb") as source,
            archive.open(_entry(file.name, file.mode), "w", force_zip64=True) as target,
        ):
            while block := source.read(_BLOCK):
                target.write(block)
                if body.tell() > limit:
                    raise _too_large(files, limit)
    except OSError as error:
        raise _unreadable(file.path, error) from error


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | mode) << 16
    return entry


def _digest(body: IO[bytes]) -> str:
    digest = hashlib.sha256()
    body.seek(0)
    while block := body.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()[:32]


def _too_large(files: list[File], limit: int) -> PackageTooLargeError:
    largest = sorted(files, key=lambda file: (-file.size, file.name))[:_LARGEST_NAMED]
    total = sum(file.size for file in files)
    named = ", ".join(f"{file.name} ({size_text(file.size)})" for file in largest)
    return PackageTooLargeError(
        f"the working directory is too large to travel with the job ({len(files)} files, {size_text(total)})",
        cause=f"Ray takes at most {size_text(limit)} zipped; the largest files are {named}",
        next_step="name what the job does not need in .gitignore, or choose a smaller directory with --working-dir; "
        "data belongs in Blob storage",
        size=total,
        limit=limit,
        largest=[{"name": file.name, "size": file.size} for file in largest],
    )


def size_text(size: float) -> str:
    """Bytes for people: `512 B`, `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":  # noqa: PLR2004 - the step between the units
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
