"""Where a local cluster keeps its files: small lasting ones in its state folder, Ray's own in its runtime folder."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.durable import read_json, write_json
from azray_lab.errors import RegistryError, StartError

if TYPE_CHECKING:
    from azray_lab.targets.base import Handle

# sun_path of Linux holds 108 bytes with the final zero (unix(7)).
_SOCKET_PATH_BYTES = 107
# What Ray 2.60 puts behind a node's folder, with a pid of seven digits.
_RAY_SUFFIX = len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXIT = re.compile(r"END (\S+?)(?:\.out|\.err|\.log)* tail \((exit code\(s\)=[^)]*\)?)")
# What `ray start` prints when all is well.
_ROUTINE = re.compile(r"(INFO|SUCC) [a-z_]+\.py:\d+ --")
_EXCEPTION = re.compile(r"^(?:[\w.]+(?:Error|Exception|Exit)): .+$", re.MULTILINE)
_TAIL_BYTES = 64 * 1024
# What `ray start` says when its node is not listed in time (ray/_private/node.py, 2.60: 30 s, fixed).
TOO_SLOW = "timed out during startup"
# The name under which the watchdog logs; no group of workers makes it, their nodes end in numbers.
WATCHDOG = "watchdog"


@dataclass(frozen=True)
class Folders:
    """The two folders of one cluster, and the names of the files in them."""

    state: Path
    runtime: Path

    @classmethod
    def of(cls, handle: Handle) -> Folders:
        """The folders that a handle names."""
        try:
            return cls(Path(handle.details["state_dir"]), Path(handle.details["runtime_dir"]))
        except (KeyError, TypeError) as error:
            raise RegistryError(
                f"the handle of {handle.name} does not say where the cluster has its folders",
                cause=f"details lack {error}",
                next_step=f"rm {handle.name}.json below AZRAY_HOME/clusters; azray list finds what still runs",
            ) from error

    @property
    def token(self) -> Path:
        """The cluster's token, mode 0600."""
        return self.state / "token"

    @property
    def handle(self) -> Path:
        """A copy of the handle, by which the cluster is found when the registry is lost."""
        return self.state / "handle.json"

    @property
    def lease(self) -> Path:
        """The lease's limits; the watchdog reads it at each turn."""
        return self.state / "lease.json"

    @property
    def watch(self) -> Path:
        """What the watchdog saw last."""
        return self.state / "watch.json"

    @property
    def ended(self) -> Path:
        """Why the watchdog ended the cluster; only then there."""
        return self.state / "ended.json"

    def log(self, node: str) -> Path:
        """What `ray start` of a node printed."""
        return self.state / f"{node}.log"

    def node(self, index: int) -> Path:
        """Ray's folder of node number `index`; a number, because a socket's path must be short."""
        return self.runtime / f"n{index}"

    def session(self, index: int) -> Path:
        """The folder of the node's current Ray session (a link that Ray makes)."""
        return self.node(index) / "session_latest"

    def make(self) -> None:
        """Makes both folders and the token."""
        longest = len(bytes(self.node(999))) + _RAY_SUFFIX
        if longest > _SOCKET_PATH_BYTES:
            raise StartError(
                f"the runtime folder {self.runtime.parent} has too long a path",
                cause=f"Ray's sockets below it would have {longest} bytes, Linux allows {_SOCKET_PATH_BYTES}",
                next_step="export AZRAY_RUNTIME_DIR=/tmp/my-azray",
            )
        for folder in (self.state, self.runtime):
            folder.mkdir(mode=0o700, parents=True)
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))

    def read(self, path: Path) -> dict[str, Any]:
        """The JSON object in one of these files; empty when the file is not there."""
        value = read_json(path)
        return value if isinstance(value, dict) else {}

    def save(self, handle: Handle) -> None:
        """Keeps a copy of the handle beside the cluster, while the cluster has its folder."""
        if self.state.is_dir():
            write_json(self.handle, handle.to_dict())


def plain_lines(text: str) -> Iterator[str]:
    """The lines of `text` without terminal colours."""
    yield from _ANSI.sub("", text).splitlines()


def tail(path: Path) -> str:
    """The last 64 KiB of a log without colours; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return _ANSI.sub("", file.read().decode(errors="replace"))
    except FileNotFoundError:
        return ""


def autopsy(log: Path) -> str:
    """Why a node ended, in one line, from what its `ray start` printed."""
    text = tail(log)
    if exits := _EXIT.findall(text):
        return "; ".join(f"{name} ended with {code.strip()}" for name, code in dict.fromkeys(exits))
    if problems := _EXCEPTION.findall(text):
        return str(problems[-1])
    said = [line.strip() for line in text.splitlines() if line.strip() and not _ROUTINE.search(line)]
    return said[-1] if said else "its process is gone without a word, as after kill -9 or when memory runs out"
