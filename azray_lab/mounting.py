"""Blob containers as folders: `mount`, `unmount`, `mounts`, and advice on how to tune one.

    with azray_lab.mount("az://datasets/imagenet", "/mnt/imagenet", profile="dataset") as folder:
        print(folder.path)

What is underneath, and why: `azray_lab.storage.blobfuse.profiles`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.errors import AzRayError, UsageError
from azray_lab.operation import Operation, Task
from azray_lab.views import Table, View, aligned, escape, frame, seconds, table_html

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.health import Health
    from azray_lab.storage.blobfuse.mounts import Mounts
    from azray_lab.storage.blobfuse.records import Record
    from azray_lab.storage.blobfuse.tuning import Advice, Measured
    from azray_lab.storage.blobfuse.unwritten import Kept

MOUNT_SECONDS = 60.0
WAIT_SECONDS = 30.0
_MIB = 1024 * 1024
_COLUMNS = ("path", "state", "uri", "profile", "engine", "since", "cache", "memory", "waiting", "errors")
_TUNED = ("profile", "engine", "access", "in order", "64 KiB at random", "small files", "memory", "problem")


class Mount:
    """A container as a folder; as a context manager it is unmounted at the block's end."""

    def __init__(self, record: Record, environ: Mapping[str, str] | None = None) -> None:
        self._record = record
        self._environ = environ

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self._record.path)

    @property
    def uri(self) -> str:
        """The container, and the folder in it."""
        return self._record.uri

    @property
    def engine(self) -> str:
        """`blobfuse2`, or `hydrate` for a read-only copy."""
        return self._record.engine

    @property
    def why(self) -> str:
        """Why that engine."""
        return self._record.why

    def health(self) -> Health:
        """How it is now; costs a process, and at most five seconds when it does not answer."""
        door = _mounts(self._environ)
        # It may have been brought back since, with another process.
        return door.health(door.records.get(self._record.path) or self._record)

    def unmount(self, *, wait: float = WAIT_SECONDS, lazy: bool = False) -> None:
        """Unmounts; see `azray_lab.unmount`."""
        unmount(self.path, wait=wait, lazy=lazy, environ=self._environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _mounts(self._environ).records.get(self._record.path) is None:
            return  # it was unmounted in the block
        if error is None:
            self.unmount()
            return
        # The block's own error is what counts, and what it has left open is closed when that has been dealt with.
        try:
            self.unmount(lazy=True)
        except AzRayError as problem:
            warnings.warn(str(problem), RuntimeWarning, stacklevel=2)

    def __fspath__(self) -> str:
        return self._record.path

    def to_dict(self) -> dict[str, Any]:
        """The mount as plain JSON; without secrets."""
        return self._record.to_dict()

    def __str__(self) -> str:
        only = ", read-only" if self._record.read_only else ""
        return f"{self.uri} is at {self.path} ({self._record.profile}, {self.engine}{only}): {self.why}"

    def __repr__(self) -> str:
        return str(self)


def _mounts(environ: Mapping[str, str] | None) -> Mounts:
    from azray_lab.storage.blobfuse.mounts import Mounts

    return Mounts(environ=environ)


def mount(uri: str | BlobUri, path: str | Path, **how: Any) -> Mount:
    """Mounts the container or folder `uri` at the folder `path` and returns when it answers; see `mount_operation`."""
    return mount_operation(uri, path, **how).run()


def mount_operation(
    uri: str | BlobUri,
    path: str | Path,
    *,
    profile: str = "shared",
    engine: Literal["auto", "blobfuse2", "hydrate"] = "auto",
    access: Literal["auto", "sequential", "random"] = "auto",
    fallback: Literal["none", "copy"] = "none",
    read_only: bool | None = None,
    allow_other: bool = False,
    options: Mapping[str, str | int | bool] | None = None,
    cache: str | Path = "",
    timeout: float = MOUNT_SECONDS,
    environ: Mapping[str, str] | None = None,
) -> Task[Mount]:
    """The task of `mount`.

    `profile` is what the data is for: dataset, checkpoints, models, shared. `engine` auto looks at the data (at most a
    second of listing): a data set of many small files becomes a read-only copy on the local disk (`hydrate`), all else
    goes through blobfuse2. `fallback="copy"` allows that copy also where FUSE cannot work. `options` are blobfuse2's
    own settings (`{"block_cache.prefetch": 16}`), `cache` a folder on a disk for copies and caches. `timeout` is in
    seconds. The same mount again is the one that is there, as it is; MountError for one that differs. A `path` that is
    a link is the folder to which it leads. The account is asked first, so that a wrong address, credential or container
    is told in seconds.

    Raises UsageError for what cannot be asked for, CredentialError, BlobNotFoundError, StorageError and MountError with
    blobfuse2's own reason, UnsupportedError where FUSE or blobfuse2 is missing. Then nothing is left behind.
    """
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.config import check_override
    from azray_lab.storage.blobfuse.request import Request

    overrides = dict(check_override(key, value) for key, value in (options or {}).items())
    wanted = Request(
        BlobUri.parse(uri), str(path), _profile(profile), engine, access, fallback, read_only, allow_other,
        overrides, str(Path(cache).absolute()) if cache else "",
    )  # fmt: skip

    def work(operation: Operation[Mount]) -> Mount:
        return Mount(_mounts(environ).mount(wanted, operation, timeout), environ)

    return Task(Operation(f"mount {wanted.uri} at {path}"), work)


def parse_options(texts: Iterable[str]) -> dict[str, str | int | bool]:
    """`section.key=value`, as `--set` takes it, for `options`; UsageError with the nearest key for an unknown one."""
    from azray_lab.storage.blobfuse.config import parse_override

    return dict(parse_override(text) for text in texts)


def _profile(name: str) -> Any:
    from azray_lab.storage.blobfuse.profiles import PROFILES

    if name not in PROFILES:
        raise UsageError(
            f"there is no profile {name!r}", cause=f"there are {', '.join(PROFILES)}", next_step="profile dataset"
        )
    return name


def unmount(
    path: str | Path, *, wait: float = WAIT_SECONDS, lazy: bool = False, environ: Mapping[str, str] | None = None
) -> None:
    """Unmounts the folder `path`, when all that was written to it is in Blob.

    Waits up to `wait` seconds for files that are open, then MountError says which and by whom, and it stays mounted.
    With `lazy` the folder goes at once, with what is mounted in it; what is still open is written when it is closed.
    Files that are in the mount's cache and not in Blob, because their upload was refused or the process has died, are
    kept, and a warning says where. Asks Blob about each file in the cache, for at most a minute.
    """
    began = time.time()
    unmount_operation(path, wait=wait, lazy=lazy, environ=environ).run()
    for left in unwritten(path, since=began, environ=environ):
        warnings.warn(str(left), RuntimeWarning, stacklevel=2)


def unwritten(path: str | Path, *, since: float = 0.0, environ: Mapping[str, str] | None = None) -> list[Kept]:
    """The files of dead mounts at the folder `path` that are not in Blob, kept after `since` (seconds since 1970)."""
    from azray_lab.storage.blobfuse.records import place

    return _mounts(environ).unwritten.of(place(path), since)


def unmount_operation(
    path: str | Path, *, wait: float = WAIT_SECONDS, lazy: bool = False, environ: Mapping[str, str] | None = None
) -> Task[bool]:
    """The task of `unmount`; its result is False when others still use the mount, which then stays."""

    def work(operation: Operation[bool]) -> bool:
        return _mounts(environ).unmount(str(path), operation, wait=wait, lazy=lazy)

    return Task(Operation(f"unmount {path}"), work)


def mounts(environ: Mapping[str, str] | None = None) -> Table:
    """Every mount of ours and of blobfuse2 on this machine: does it answer, since when, what does it use.

    At most five seconds for each that does not answer.
    """
    found = list(_mounts(environ))
    title = "mounts" if found else "nothing is mounted; azray mount az://container /mnt/x"
    return Table(title, _COLUMNS, [_row(one) for one in found], [one.to_dict() for one in found])


def _row(one: Health) -> tuple[str, ...]:
    state = one.state + (f": {one.reason}" if one.reason else "")
    since = seconds(max(time.time() - one.since, 0.0)) if one.since else ""
    return (
        one.path, state, one.uri or "(not ours)", one.profile, one.engine, since,
        _size(one.cache), _size(one.memory), str(one.waiting), str(one.errors),
    )  # fmt: skip


def _size(count: float) -> str:
    return f"{count / _MIB:.1f} MiB" if count else ""


def mend_operation(environ: Mapping[str, str] | None = None) -> Task[Table]:
    """The task that brings back every mount of ours whose process has died; its result is `mounts()` afterwards.

    One that cannot be brought back keeps no other one from it; then its error is raised at the end.
    """

    def work(operation: Operation[Table]) -> Table:
        door, failed = _mounts(environ), None
        for one in list(door):
            if one.owners and one.state in {"stale", "gone"}:
                try:
                    door.mend(one.path, operation)
                except AzRayError as error:
                    operation.check()
                    operation.note(str(error))
                    failed = failed or error
        if failed is not None:
            raise failed
        return mounts(environ)

    return Task(Operation("mend mounts"), work)


def explain(uri: str | BlobUri, path: str | Path, **how: Any) -> View:
    """How `mount` with the same arguments would do it, with the reason of each value; mounts nothing.

    Also where blobfuse2 does not work; then it says why not. Looks at the data as `mount` does (at most a second).
    Takes what `mount` takes, but `timeout` and `environ`.
    """
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.config import check_override
    from azray_lab.storage.blobfuse.request import Request

    options = dict(check_override(key, value) for key, value in (how.pop("options", None) or {}).items())
    cache = str(Path(how.pop("cache")).absolute()) if how.get("cache") else ""
    profile = _profile(how.pop("profile", "shared"))
    how.pop("cache", None)
    wanted = Request(BlobUri.parse(uri), str(path), profile, overrides=options, cache=cache, **how)
    door = _mounts(None)
    record = door.plan(wanted, anyway=True)
    problem = door.obstacle() if record.engine == "blobfuse2" else None
    rows = [(s.key, str(s.value), s.reason) for s in door.explain(record)]
    columns = ("setting", "value", "because")
    head = f"{record.uri} at {record.path}: {record.engine}, because: {record.why}"
    head += f" (but not here: {problem})" if problem else ""
    lines = aligned([[c.upper() for c in columns], *rows]) if rows else []
    text = "\n".join([head, *(f"  {line}" for line in lines)])
    settings = [dict(zip(columns, row, strict=True)) for row in rows]
    data = {**record.to_dict(), "settings": settings, "obstacle": str(problem) if problem else None}
    return View(data, text, frame(f"<p>{escape(head)}</p>{table_html('settings', columns, rows) if rows else ''}"))


def tune_operation(path: str | Path, *, environ: Mapping[str, str] | None = None, seconds: float = 60.0) -> Task[Table]:
    """The task that measures the profiles for about `seconds` on what is mounted at `path`, or on a URI.

    Reads only. The table's title is the recommendation.
    """
    from azray_lab.spec.uri import BlobUri, is_uri
    from azray_lab.storage.blobfuse.tuning import tune

    given = BlobUri.parse(str(path)) if is_uri(str(path)) else None

    def work(operation: Operation[Table]) -> Table:
        door = _mounts(environ)
        uri = given or _mounted_at(door, path)
        return _advice(tune(door, uri, operation, seconds), str(uri))

    return Task(Operation(f"tune {given or path}"), work)


def _mounted_at(door: Mounts, path: str | Path) -> BlobUri:
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.records import place

    record = door.records.get(place(path))
    if record is None:
        raise UsageError(f"nothing of ours is mounted at {path}", next_step="azray mounts, or give a URI")
    return BlobUri.parse(record.uri)


def _advice(advice: Advice, uri: str) -> Table:
    best = advice.best
    choice = f"profile {best.profile}, engine {best.engine}, access {best.access}"
    title = f"{uri}: {choice}; the most of `{advice.measure}` ({advice.seen})"
    data = {
        "uri": uri,
        "recommended": {"profile": best.profile, "engine": best.engine, "access": best.access},
        "measure": advice.measure,
        "measured": [one.to_dict() for one in advice.measured],
    }
    return Table(title, _TUNED, [_tuned(one) for one in advice.measured], data)


def _tuned(one: Measured) -> tuple[str, ...]:
    rates = (f"{one.sequential / 1e6:.0f} MB/s", f"{one.random:.0f}/s", f"{one.files:.0f}/s")
    return (one.profile, one.engine, one.access, *rates, _size(one.memory), one.problem)
