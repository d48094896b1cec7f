"""Touching folders that may hang, from another process, with a deadline.

A process that waits for a dead FUSE mount cannot even be killed; so it must not be ours, and nobody waits for it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# A living mount answers within milliseconds; a listing over a slow line may take seconds.
ANSWER_SECONDS = 5.0
LOST = 107  # ENOTCONN, "Transport endpoint is not connected": the process of a FUSE mount has ended
_PROGRAM = """
import json, os, sys
path, verb = sys.argv[1:]
try:
    if verb == "empty":
        with os.scandir(path) as entries:
            out = {"ok": next(entries, None) is None}
    else:
        os.stat(path)
        found = os.statvfs(path)
        out = {"ok": True, "free": found.f_bavail * found.f_frsize}
except OSError as error:
    out = {"ok": False, "error": error.strerror, "number": error.errno}
print(json.dumps(out), flush=True)
"""
_hanging: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Answer:
    """What a folder answered: `ok`, or the system's words in `error` with its `number`; `silent` when it did not."""

    ok: bool
    error: str = ""
    number: int = 0
    silent: bool = False


def answers(path: str | Path, seconds: float = ANSWER_SECONDS) -> Answer:
    """Whether the folder's file system answers; costs a process (about 20 ms), never more than `seconds`."""
    return _ask(path, "stat", seconds)


def is_empty(path: str | Path, seconds: float = ANSWER_SECONDS) -> Answer:
    """Whether the folder has nothing in it."""
    return _ask(path, "empty", seconds)


def leave(process: subprocess.Popen[str]) -> None:
    """Kills a process that waits for a mount, and leaves it: it ends when the mount is freed, and is reaped later."""
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    _hanging.append(process)


def _ask(path: str | Path, verb: str, seconds: float) -> Answer:
    _hanging[:] = [process for process in _hanging if process.poll() is None]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, str(path), verb],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        leave(process)
        return Answer(ok=False, error=f"no answer within {seconds:g} s", silent=True)
    try:
        found = json.loads(out)
    except ValueError:
        return Answer(ok=False, error=f"the probe ended with code {process.returncode}")
    return Answer(bool(found["ok"]), str(found.get("error") or ""), int(found.get("number") or 0))
