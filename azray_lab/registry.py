"""The registry: handles on disk, so that a restarted kernel finds its clusters. One file per cluster, atomic writes.

A file that is no handle is set aside and named; one that a newer version wrote is left alone and named. What a look
had to say beside the handles goes to the package's log as warnings.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.durable import write_json
from azray_lab.errors import RegistryError, UnknownClusterError, UsageError, nearest
from azray_lab.spec import settings
from azray_lab.targets.base import HANDLE_VERSION, Handle

if TYPE_CHECKING:
    from azray_lab.operation import Operation

__all__ = [
    "Handle",
    "UnknownClusterError",
    "cancel_requested",
    "forget",
    "get",
    "handle_or_none",
    "handles",
    "lock",
    "names",
    "request_cancel",
    "save",
]

_log = logging.getLogger("azray_lab")
# The same grammar as spec.models.NAME_PATTERN, without pydantic; a test holds them equal.
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
# An `up` of many nodes takes minutes; whoever waits for its lock is told what it waits for.
_LOCK_SECONDS = 900.0


def folder() -> Path:
    """The folder of the handles; made if need be. RegistryError when it cannot be."""
    path = settings.state_dir() / "clusters"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> RegistryError:
    return RegistryError(
        f"the registry's folder {path} cannot be written",
        cause=error.strerror or str(error),
        next_step="export AZRAY_HOME=/some/writable/folder",
        path=str(path),
    )


def _file(name: object) -> Path:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a cluster",
            cause="a name has lower-case letters, digits and hyphens, a letter first, at most 40 characters",
            next_step="azray list",
            name=name,
        )
    return folder() / f"{name}.json"


def names() -> list[str]:
    """The names of all registered clusters, from one listing of the folder; opens no file."""
    return sorted(path.stem for path in folder().glob("*.json") if NAME.fullmatch(path.stem))


def handles() -> list[Handle]:
    """All handles by name. Files that are none are set aside, with a warning that names them."""
    place = folder()  # once: it looks at the file system
    return [handle for name in names() if (handle := _read(place / f"{name}.json")) is not None]


def get(name: str) -> Handle:
    """The handle of one cluster; UnknownClusterError with the nearest name, RegistryError for a newer version's."""
    if (handle := _read(_file(name), strict=True)) is None:
        known = names()
        raise UnknownClusterError(
            f"there is no cluster {name!r}",
            cause=(f"there are {', '.join(known[:5])}" if known else "none is registered") + "." + nearest(name, known),
            next_step=f"azray up --name {name}, or azray list",
            name=name,
            known=known,
        )
    return handle


def handle_or_none(name: str) -> Handle | None:
    """The handle of one cluster, None when it is not registered."""
    return _read(_file(name), strict=True)


def _read(path: Path, *, strict: bool = False) -> Handle | None:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        newer = int(data["version"]) > HANDLE_VERSION
        if not newer:
            return Handle.from_dict(data)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RegistryError) as error:
        _set_aside(path, error)
        return None
    except OSError as error:
        raise _unwritable(path, error) from error
    words = f"{path} was written by a newer version of azray-lab (form {data['version']}) and is left alone"
    if strict:
        raise RegistryError(words, next_step='pip install --upgrade "azray-lab"', path=str(path))
    _log.warning(words)
    return None


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_suffix(f".broken-{time.time_ns()}")
    # Another process may have been first; then there is nothing to set aside.
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
        _log.warning("%s is no handle (%s); it was set aside as %s", path, error, aside.name)


def save(handle: Handle) -> None:
    """Writes a handle in one step."""
    path = _file(handle.name)
    try:
        write_json(path, handle.to_dict())
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def forget(name: str) -> None:
    """Removes a handle; one that is gone already does not matter."""
    _file(name).unlink(missing_ok=True)


# One operation at a time works on a cluster; another may ask it to stop.


@contextlib.contextmanager
def lock(name: str, operation: Operation[Any], *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """The right to change a cluster. Waits for another process that has it, and says so; a dead one loses it.

    Its file goes with the cluster: whoever leaves no handle behind removes it.
    """
    from filelock import FileLock, Timeout  # 60 ms, which `list` and `status` do not need

    _file(name)
    guard = FileLock(folder() / f"{name}.lock", thread_local=False, mode=0o600)

    def acquired() -> bool:
        with contextlib.suppress(Timeout):
            guard.acquire(timeout=0)
            return True
        return False

    operation.wait_for(
        acquired,
        reason=f"another process is working on cluster {name}",
        seconds=seconds,
        next_step=f"azray status {name}",
    )
    try:
        yield
    finally:
        if not _file(name).exists():
            # While it is held. Who has opened the file already notices that it is gone, and makes a new one.
            Path(guard.lock_file).unlink(missing_ok=True)
        guard.release()


def request_cancel(name: str, maker: dict[str, Any]) -> Path:
    """Asks whoever works on the cluster to stop; counts as long as the process `maker` lives and the file is there."""
    path = folder() / f"{name}.cancel"
    write_json(path, maker)
    return path


def cancel_requested(name: str) -> dict[str, Any] | None:
    """The process that asks for a stop, if one does."""
    try:
        data = json.loads((folder() / f"{name}.cancel").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None
