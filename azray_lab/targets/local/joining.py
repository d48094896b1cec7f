"""Workers on their way into a cluster: started a few at a time, waited for, started again when only time was short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.targets.local import machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azray_lab.targets.local.machine import Share
    from azray_lab.targets.local.startup import Startup

WORKER_SECONDS = 180.0
# A node's own start costs about 3 s of CPU; Ray gives it 30 s, after which it ends itself.
_TRIES = 3


class Joining:
    """`names` (name -> group) become nodes of the cluster; at most one a CPU is starting at any time."""

    def __init__(self, startup: Startup, names: Mapping[str, str], shares: Mapping[str, Share]) -> None:
        self._startup = startup
        self._names = dict(names)
        self._shares = shares
        self._waiting = list(names)
        self._starting: dict[str, int] = {}
        self._width = machine.cpus()

    def launch(self) -> None:
        """Starts as many of those that wait as may start now."""
        while self._waiting and len(self._starting) < self._width:
            name = self._waiting.pop(0)
            self._launch(name, 1)

    def _launch(self, name: str, attempt: int) -> None:
        self._starting[name] = attempt
        self._startup.launch_worker(name, self._names[name], self._shares[name])

    def join(self) -> None:
        """Returns when all are there; StartError when one cannot start, DeadlineError when it takes too long."""
        if not self._names:
            return
        total = len(self._names)
        operation = self._startup.operation
        with operation.stage("workers") as stage:
            for joined in range(total):
                stage.progress(joined / total, f"{joined} of {total}")
                operation.wait_for(
                    self._one_joined,
                    reason=lambda: f"{', '.join(self._starting)} joining",
                    seconds=WORKER_SECONDS,
                    stage="workers",
                    interval=0.1,
                    next_step=f"azray status {self._startup.spec.name}",
                )
            stage.summary = f"{total} joined"

    def _one_joined(self) -> bool:
        there = self._startup.joined()
        for name, attempt in list(self._starting.items()):
            if name in there:
                del self._starting[name]
                self.launch()
                return True
            if attempt < _TRIES and self._startup.start_again(name):
                self._launch(name, attempt + 1)
            else:
                self._startup.check_alive(name)
        return False
