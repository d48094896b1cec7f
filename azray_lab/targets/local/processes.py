"""The processes of a cluster: starting them, finding every one, and ending exactly those.

Three marks find a process: the cluster's id in its environment, a session that a node of the cluster leads, and a
parent that has one of the two. The first survives any kill of parents, the second a program that rewrote its
environment (setproctitle), the third one that did both.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from azray_lab.errors import StartError
from azray_lab.targets.base import ProcessId

ID_VARIABLE = "AZRAY_CLUSTER_ID"
NODE_VARIABLE = "AZRAY_NODE"
STATE_VARIABLE = "AZRAY_CLUSTER_STATE"
_LAUNCH_SECONDS = 20


def launch(command: Sequence[str], environment: Mapping[str, str], *, log: Path, directory: Path) -> ProcessId:
    """Starts `command` detached from this process, its output appended to `log`; costs about 20 ms."""
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(log), str(directory)]
    with subprocess.Popen(
        [*launcher, *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, problem = process.communicate(timeout=_LAUNCH_SECONDS)
    if process.returncode != 0:
        raise StartError(f"{command[0]} could not be started", cause=problem.strip().rpartition("\n")[2])
    pid = int(out)
    try:
        return ProcessId(pid, psutil.Process(pid).create_time(), session=process.pid)
    except psutil.NoSuchProcess:
        return ProcessId(pid, 0.0, session=process.pid)


def _environment(process: psutil.Process) -> dict[str, str]:
    # Another user's processes cannot be read, and cannot be ours.
    with contextlib.suppress(psutil.Error, OSError):
        return dict(process.environ())
    return {}


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def every_marked() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Every living process that belongs to some cluster, with its environment. One look at /proc."""
    for process in psutil.process_iter():
        environment = _environment(process)
        if ID_VARIABLE in environment and _alive(process):
            yield process, environment


def marked(cluster_id: str, sessions: Iterable[int] = ()) -> list[psutil.Process]:
    """Every living process of the cluster, except the one that asks.

    `sessions` are those in which its nodes were started. A session's number is that of its first process, a launcher
    that has ended, and the kernel gives it to no other process while the session lives: where there is a process of
    that number, the session is gone and the process is somebody else's.
    """
    everyone = {p.pid: p for p in psutil.process_iter(["ppid"]) if _alive(p)}
    gone = {session for session in sessions if session in everyone}
    wanted = set(sessions) - gone
    ours = {
        pid
        for pid, process in everyone.items()
        if _environment(process).get(ID_VARIABLE) == cluster_id or session_of(pid) in wanted
    }
    _add_children(ours, everyone)
    return [everyone[pid] for pid in sorted(ours) if pid != os.getpid()]


def _add_children(ours: set[int], everyone: Mapping[int, psutil.Process]) -> None:
    while children := {pid for pid, process in everyone.items() if process.info["ppid"] in ours} - ours:
        ours |= children


def session_of(pid: int) -> int:
    """The session that a process is in, -1 when it has ended."""
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def end(processes: Iterable[psutil.Process], *, kill: bool = False) -> None:
    """Asks `processes` to end (SIGTERM), or ends them (SIGKILL). Those that are gone already do not matter."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if kill:
                process.kill()
            else:
                process.terminate()
