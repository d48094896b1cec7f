"""`--no-wait` in a terminal: the same command again, in a session of its own, with its output in a log file."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from azray_lab import registry
from azray_lab.errors import RegistryError, StartError
from azray_lab.spec import settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# How long the new process may take until its cluster can be found by name, in seconds.
_REGISTERED_WITHIN = 20.0
# Flags that are for the process which the user sees.
_NOT_HANDED_ON = {"--no-wait", "--json", "--events"}


@dataclass(frozen=True)
class Detached:
    """A command that goes on by itself: the cluster's name, the process's id and the file with its output."""

    name: str
    pid: int
    log: str
    state: str = "starting"

    def to_dict(self) -> dict[str, Any]:
        """The value that `--json` prints."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name} is starting in process {self.pid}; see azray status {self.name}, or {self.log}"


def detach(name: str, words: Sequence[str]) -> Detached:
    """Starts `azray` again with `words` and returns when the cluster is registered; StartError when it ended before."""
    log = _log(name)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "azray_lab", *(w for w in words if w not in _NOT_HANDED_ON)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _REGISTERED_WITHIN
    while name not in registry.names() and time.monotonic() < deadline:
        if process.poll():
            raise StartError(f"{name} did not start", cause=_last_line(log), next_step=f"see {log}", log=str(log))
        time.sleep(0.05)
    return Detached(name, process.pid, str(log))


def _log(name: str) -> Path:
    """The file for the output, empty and for its owner only; the last start of that name is what it tells."""
    folder = settings.state_dir() / "logs"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"up-{name}.log"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise RegistryError(
            f"no log can be written in {folder}",
            cause=error.strerror or str(error),
            next_step="export AZRAY_HOME=/some/writable/folder",
            path=str(folder),
        ) from error
    return path


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("azray: ") if lines else "it said nothing"
