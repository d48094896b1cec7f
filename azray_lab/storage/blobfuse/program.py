"""The program `blobfuse2`: finding it, its version, its verbs with deadlines, and the processes that it leaves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from azray_lab.errors import MountError, UnsupportedError

# Which mount a process of blobfuse2 serves, in its environment; more certain than its arguments.
MARK = "AZRAY_MOUNT_PATH"
_OLDEST = (2, 4)
_VERSION = re.compile(r"blobfuse2 version (\d+)\.(\d+)\.?(\S*)")
_VERSION_SECONDS = 10.0
_KILL_SECONDS = 5.0
_README = "https://github.com/Azure/azure-storage-fuse (README: the package of Microsoft's repository)"


@dataclass(frozen=True)
class Done:
    """How a command ended: its code, None when it did not in time, and what it wrote to stderr."""

    code: int | None
    said: str


def find(environ: Mapping[str, str]) -> str:
    """The path of blobfuse2; UnsupportedError, with where to get it, when it is not on PATH."""
    found = shutil.which("blobfuse2", path=environ.get("PATH", os.defpath))
    if found is None:
        raise UnsupportedError(
            "blobfuse2 is not installed",
            cause="it is not on PATH",
            next_step=f"install it from {_README}, or add --engine hydrate",
        )
    return found


def version(program: str, environ: Mapping[str, str]) -> str:
    """Its version as it says it; UnsupportedError for one that is too old, or that cannot run."""
    done = run([program, "--version"], environ, _VERSION_SECONDS)
    # Some releases print the version to stderr, all of them begin with lines of their log.
    match = _VERSION.search(done.said)
    if match is None:
        raise UnsupportedError(
            f"{program} does not say its version",
            cause=done.said.strip().rpartition("\n")[2] or f"it ended with code {done.code}",
            next_step="as root: apt-get install fuse3 blobfuse2",
        )
    if (int(match[1]), int(match[2])) < _OLDEST:
        raise UnsupportedError(
            f"{program} is too old",
            cause=f"it is {match[1]}.{match[2]}, {'.'.join(map(str, _OLDEST))} is needed",
            next_step=f"install a newer one: {_README}",
        )
    return f"{match[1]}.{match[2]}.{match[3]}".rstrip(".")


def run(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> Done:
    """Runs a command that should be quick; one that is not is killed, and left alone when it cannot be."""
    process = subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        try:
            process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            _stuck.append(process)
        return Done(None, f"no answer within {seconds:g} s")
    return Done(process.returncode, said)


_stuck: list[subprocess.Popen[str]] = []


def serving(path: str) -> list[psutil.Process]:
    """The living processes of blobfuse2 that serve the mount at `path`, by their mark."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.environ().get(MARK) == path and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # another user's, or gone
    return [process for process in found if process.pid != os.getpid()]


def started(pid: int, path: str) -> float:
    """When that process was started (seconds since 1970), 0 when it does not serve the mount at `path`."""
    try:
        process = psutil.Process(pid) if pid else None
        return float(process.create_time()) if process and process.environ().get(MARK) == path else 0.0
    except (psutil.Error, OSError):
        return 0.0


def alive(pid: int, started: float) -> bool:
    """Whether that very process runs."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(path: str) -> None:
    """Kills what serves the mount at `path`: the only way to free those who wait for a mount that does not answer."""
    for process in serving(path):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def ended(path: str, seconds: float = _KILL_SECONDS) -> bool:
    """Whether nothing serves the mount at `path`, when it was killed; waits for the kernel to take it away."""
    end = time.monotonic() + seconds
    while serving(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def detach(path: str, environ: Mapping[str, str]) -> None:
    """Takes a mount out of the tree at once, whatever state it is in; MountError when it is still there."""
    commands = [["umount", "-l", path]] if os.geteuid() == 0 else []
    commands += [["fusermount3", "-u", "-z", path], ["fusermount", "-u", "-z", path]]
    said = ""
    for command in commands:
        if shutil.which(command[0], path=environ.get("PATH", os.defpath)) is None:
            continue
        done = run(command, environ, 10.0)
        if done.code == 0:
            return
        said = said or done.said.strip()
    raise MountError(f"{path} cannot be taken out of the tree", cause=said or "neither umount nor fusermount3 is here",
                     next_step=f"as root: umount -l {path}", path=path)  # fmt: skip


@dataclass(frozen=True)
class OpenFile:
    """A process that has something below a mount open."""

    pid: int
    name: str
    file: str

    def __str__(self) -> str:
        return f"{self.file} in {self.name} (pid {self.pid})"


def open_files(path: str) -> list[OpenFile]:
    """Who has files below `path` open or works in it, from /proc; touches no file of the mount.

    Processes of other users are seen by root only.
    """
    prefix = path.rstrip("/") + "/"
    out: dict[tuple[int, str], OpenFile] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            for file in _links(folder):
                if file == path or file.startswith(prefix):
                    pid = int(folder.name)
                    out[pid, file] = OpenFile(pid, _name(folder), file.removesuffix(" (deleted)"))
    return list(out.values())


def _links(process: Path) -> list[str]:
    found = []
    try:
        for link in [process / "cwd", process / "root", *(process / "fd").iterdir()]:
            try:
                found.append(os.readlink(link))  # noqa: PTH115 - Path.readlink makes a Path of `socket:[1]`
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return found  # another user's process, or one that has ended
    return found


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
