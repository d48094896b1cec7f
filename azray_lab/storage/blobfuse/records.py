"""What we know of our mounts, on disk: one folder for each, so that any process finds, mends and removes them.

The folder's name comes from the path, so a path has at most one. It holds `record.json`, the configuration, the log,
blobfuse2's process id and, unless another place was given, the cache. No secret is ever in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.durable import read_json, write_json
from azray_lab.spec import settings
from azray_lab.storage.blobfuse import mountinfo, program
from azray_lab.storage.blobfuse.locks import Lock

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.profiles import Access, Profile, Value

Engine = Literal["blobfuse2", "hydrate"]
USER = "user"
# Below a cache folder of the user's own: what is ours there, and may be emptied.
_CACHES = "azray-mounts"
_ASIDE = "azray-unwritten"
# How long whoever changes a mount waits for another process that does: as long as a copy's bytes may take.
LOCK_SECONDS = 3600.0
# How many links after each other are followed, as the kernel does (path_resolution(7)).
_LINKS = 40


@dataclass(frozen=True)
class Record:
    """A mount as it was asked for and made.

    `pid` and `started` (seconds since 1970) are the daemon's. `made` says that the folder was made for the mount.
    `starting` says that whoever mounts it has not seen it answer yet, and stays when that was killed. `ending` says
    that it was unmounted while its process may still write what was open. `signed` says that the URI had a signature,
    which is kept nowhere.
    `owners` are `user` and the ids of the clusters that asked for it; `why` says how the engine was chosen.
    """

    uri: str
    path: str
    profile: Profile
    engine: Engine
    created: float
    why: str = ""
    mode: str = ""
    small: bool = False
    access: Access = "sequential"
    read_only: bool = False
    allow_other: bool = False
    overrides: Mapping[str, Value] = field(default_factory=dict)
    cache: str = ""
    pid: int = 0
    started: float = 0.0
    made: bool = False
    linked: bool = False
    starting: bool = False
    ending: bool = False
    signed: bool = False
    owners: tuple[str, ...] = (USER,)

    def but(self, **changes: Any) -> Record:
        """This record with other values."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that `to_dict` made; keys of a newer version are left out."""
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "owners": tuple(known.get("owners", ()))})


class Folder:
    """The folder of one mount, and the names of the files in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def record(self) -> Path:
        """The record."""
        return self.root / "record.json"

    @property
    def config(self) -> Path:
        """blobfuse2's configuration."""
        return self.root / "config.yaml"

    @property
    def log(self) -> Path:
        """blobfuse2's own log."""
        return self.root / "log"

    @property
    def output(self) -> Path:
        """What the command `blobfuse2 mount` printed."""
        return self.root / "output"

    @property
    def cache(self) -> Path:
        """The cache, unless another place was given."""
        return self.root / "cache"

    def pid(self, path: str) -> int:
        """The daemon's process id, 0 while there is none (blobfuse2 2.5: PATH with _ for /, `.pid`)."""
        try:
            return int((self.root / f"{path.replace('/', '_')}.pid").read_text())
        except (OSError, ValueError):
            return 0

    def make(self) -> None:
        """Makes the folder, empty, for this user alone."""
        self.remove()
        self.root.mkdir(mode=0o700, parents=True)

    def remove(self) -> None:
        """Removes the folder and all in it."""
        if self.root.exists():
            shutil.rmtree(self.root)

    def read(self) -> Record | None:
        """The record, None when there is none that can be read."""
        try:
            data = read_json(self.record)
            return self._adopted(Record.from_dict(data)) if isinstance(data, dict) else None
        except (ValueError, TypeError):
            return None

    def lost(self, path: str) -> Record | None:
        """What the configuration tells of the mount at `path` when its record is gone or damaged; None without one."""
        import yaml

        try:
            content = yaml.safe_load(self.config.read_text(encoding="utf-8"))
            service, cache = content["azstorage"], content.get("file_cache", {}).get("path", "")
            uri = "/".join(filter(None, (f"az://{service['container']}", service.get("subdirectory", ""))))
            made = self.config.stat().st_mtime
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
            return None
        return self._adopted(
            Record(
                uri, path, "shared" if cache else "models", "blobfuse2", made, read_only=bool(content.get("read-only")),
                cache=cache or str(self.cache), starting=True,
            )
        )  # fmt: skip

    def _adopted(self, record: Record) -> Record:
        """The record with its process, where who started that was killed before it could note it."""
        if not record.starting or record.engine != "blobfuse2":
            return record
        pid = self.pid(record.path)
        return record.but(pid=pid, started=program.started(pid, record.path))

    def write(self, record: Record) -> None:
        """Keeps the record."""
        write_json(self.record, record.to_dict())


class Records:
    """All mounts of this home (`AZRAY_HOME`)."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or settings.state_dir() / "mounts"

    def folder(self, path: str) -> Folder:
        """The folder of the mount at `path`."""
        return Folder(self.root / hashlib.sha256(os.fsencode(path)).hexdigest()[:16])

    def get(self, path: str) -> Record | None:
        """The record of the mount at `path`, or what can still be told of one whose record is lost."""
        folder = self.folder(path)
        return folder.read() or folder.lost(path)

    def busy(self, record: Record) -> bool:
        """Whether somebody is mounting it just now."""
        if not record.starting:
            return False
        with self.free(record.path) as free:
            return not free

    def cache(self, path: str, chosen: str = "") -> Path:
        """Where blobfuse2 keeps files of the mount at `path`: below the folder `chosen`, else in the mount's own."""
        folder = self.folder(path)
        return Path(chosen) / _CACHES / folder.root.name if chosen else folder.cache

    def aside(self, record: Record, otherwise: Path) -> Path:
        """Where files go that a dead mount has left, on its cache's disk: `otherwise`, unless a place was given."""
        cache = Path(record.cache)
        return cache.parent.parent / _ASIDE if cache.parent.name == _CACHES else otherwise

    def forget(self, record: Record) -> None:
        """Removes the mount's folder and its cache; never what else lies in a cache folder of the user's own."""
        cache = Path(record.cache)
        if record.engine == "blobfuse2" and cache.parent.name == _CACHES and cache.exists():
            shutil.rmtree(cache)
        self.folder(record.path).remove()

    def __iter__(self) -> Iterator[Record]:
        for folder in sorted(self.root.glob("*")):
            if folder.is_dir() and (record := Folder(folder).read()) is not None:
                yield record

    def lock(
        self, path: str, operation: Operation[Any], seconds: float = LOCK_SECONDS
    ) -> contextlib.AbstractContextManager[None]:
        """The right to change the mount at `path`; waits up to `seconds` for another process that has it."""
        return self._guard(path).held(operation, f"another process is mounting or unmounting {path}", seconds)

    def free(self, path: str) -> contextlib.AbstractContextManager[bool]:
        """The same right, if nobody has it now: True with it, False without."""
        return self._guard(path).if_free()

    def _guard(self, path: str) -> Lock:
        return Lock(self.folder(path).root.with_suffix(".lock"))


def place(path: str | Path, records: Records | None = None) -> str:
    """Where a mount at `path` is: absolute, with every link resolved, but one by which a mount of `records` is shown.

    The kernel lists a mount by its real place, so that a link at the end has to be followed, too. Touches no mount.
    """
    where, known = named(path), records or Records()
    for _ in range(_LINKS):
        # What is mounted may answer nobody, and a look at it would never end.
        if known.get(where) is not None or mountinfo.at(where) is not None or not os.path.islink(where):  # noqa: PTH114 - a text
            break
        where = named(Path(where).parent / os.readlink(where))  # noqa: PTH115 - as above
    return where


def named(path: str | Path) -> str:
    """`path` made absolute, with the links in the folders above it resolved; the folder itself is not touched."""
    whole = Path(os.path.normpath(Path.cwd() / Path(path).expanduser()))
    return str(whole.parent.resolve() / whole.name)
