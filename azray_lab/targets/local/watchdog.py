"""The watchdog of one cluster: ends it when its lease is over, and keeps what it saw for `status`.

Run as `python -m azray_lab.targets.local.watchdog STATE_DIR`; lives outside of the kernel and of Ray, and imports
neither Ray nor pydantic, so that it costs about 25 MiB and next to no CPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azray_lab.durable import write_json
from azray_lab.errors import AzRayError
from azray_lab.operation import Operation
from azray_lab.targets.base import Handle
from azray_lab.targets.local import dashboard, snapshot, teardown
from azray_lab.targets.local.folders import Folders
from azray_lab.targets.local.mounts import Mender
from azray_lab.views import seconds

# A look costs one to three small requests: rare when there is time, often enough that a short lease is kept.
_SLOWEST, _FASTEST = 15.0, 0.5
# While `up` is at work, whose end would leave nobody to clean up.
_STARTING = 2.0
_LOOKS_PER_IDLE_LIMIT = 10
Clock = Callable[[], float]


class Watchdog:
    """What the watchdog knows between two looks; `clock` gives seconds since 1970."""

    def __init__(self, state: Path, clock: Clock = time.time) -> None:
        self._files = Folders(state, state)
        self._clock = clock
        self._idle_since: float | None = None
        self._warned = False
        self._starting = False
        self._mender = Mender()

    def handle(self) -> Handle | None:
        """The handle as it is now: `up` and `scale` change it. None when the cluster's folder is gone."""
        data = self._files.read(self._files.handle)
        return Handle.from_dict(data) if data else None

    def busy(self, handle: Handle) -> str:
        """What keeps the cluster busy, in words; a lost cluster is not busy, one that does not answer is."""
        if handle.phase != "up":
            return "`up` or `down` is at work"
        if not snapshot.alive(handle, "head"):
            return ""
        try:
            return dashboard.work(handle.endpoint)
        except AzRayError as error:
            return f"unknown: {error}"

    def look(self, handle: Handle) -> str:
        """Looks once, keeps what it saw, and returns why the cluster must end now, or an empty string."""
        state, reason = snapshot.state(handle)
        self._starting = state == "starting"
        if handle.phase == "starting" and state == "lost":
            return reason
        now = self._clock()
        busy = self.busy(handle)
        self._idle_since = None if busy else (self._idle_since or now)
        for path in self._mender.look(handle) if handle.phase == "up" else ():
            _say(f"mount {path} is gone or has lost its process; it is mounted again")
        write_json(self._files.watch, {"at": now, "busy": busy, "idle_since": self._idle_since})
        terms = snapshot.lease(handle)
        if terms.expires is None or now < terms.expires:
            self._warn(handle, terms.expires, now)
            return ""
        if self._idle_since and terms.idle and now >= self._idle_since + terms.idle:
            return f"its lease ended: it idled for {seconds(now - self._idle_since)} (lease.idle)"
        return f"its lease ended: it lived for {seconds(now - handle.created)} (lease.max)"

    def _warn(self, handle: Handle, expires: float | None, now: float) -> None:
        soon = snapshot.ends_soon(snapshot.lease(handle), now)
        if soon and not self._warned:
            _say(f"warning: {soon}")
        self._warned = bool(soon) and expires is not None

    def pause(self) -> float:
        """How long to wait until the next look, in seconds."""
        limits = self._files.read(self._files.lease)
        now = self._clock()
        ways = [_STARTING if self._starting else _SLOWEST]
        if idle := limits.get("idle"):
            ways.append(idle / _LOOKS_PER_IDLE_LIMIT)
        if end := limits.get("end"):
            ways.append(max(end - now, 0.0))
        return max(min(ways), _FASTEST)

    def finish(self, handle: Handle, reason: str) -> None:
        """Ends the cluster, and records why and when before the first process dies."""
        _say(f"ending cluster {handle.name}: {reason}")
        write_json(self._files.ended, {"reason": reason, "at": self._clock()})
        operation: Operation[Any] = Operation("lease")
        # This process is part of the cluster; it ends by itself.
        details = {key: value for key, value in handle.details.items() if key != "watchdog"}
        teardown.remove(handle.but(details=details), operation, keep_state=True)


def _say(text: str) -> None:
    """A line of the watchdog's log, which `azray logs --node watchdog` shows."""
    sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Watches until the cluster is gone."""
    watchdog = Watchdog(Path(sys.argv[1]))
    while (handle := watchdog.handle()) is not None:
        if reason := watchdog.look(handle):
            watchdog.finish(handle, reason)
            return
        time.sleep(watchdog.pause())


if __name__ == "__main__":
    main()
