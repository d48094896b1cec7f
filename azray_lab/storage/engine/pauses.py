"""Between two tries: how long to wait, shared by all threads of a client when the service asks for it."""

from __future__ import annotations

import time

from azray_lab.storage.engine.stopping import Stop

# Azure throttles with 503 as a matter of course: a first pause of 0.1 to 0.5 s, doubled up to 15 s.
_FIRST = (0.1, 0.5)
_LONGEST = 15.0
TRIES = 6
# A host that refuses will rarely be there a second later.
TRIES_TO_CONNECT = 3
# And each try at a host that says nothing takes the whole of its deadline.
TRIES_IN_SILENCE = 2


class Pauses:
    """Pauses with jitter. `stop` ends every pause at once with CancelledError."""

    def __init__(self, stop: Stop | None = None, calm: list[float] | None = None) -> None:
        self.stop = stop or Stop()
        # When the next request may be sent; one cell, shared by all that `stoppable` has made.
        self._calm = [0.0] if calm is None else calm

    def stoppable(self, stop: Stop) -> Pauses:
        """The same pauses, ended by `stop`."""
        return Pauses(stop, self._calm)

    def before(self) -> None:
        """Waits while the service wants no requests at all."""
        self._sleep(self._calm[0] - time.monotonic())

    def after(self, number: int, retry_after: str = "") -> None:
        """Waits after failure `number` (0 is the first). `retry_after`, in seconds, holds every thread back."""
        import random

        pause = random.uniform(*_FIRST) * 2**number  # noqa: S311 - jitter is no secret
        if retry_after.isdigit():
            self._calm[0] = max(self._calm[0], time.monotonic() + min(float(retry_after), _LONGEST))
            # A little more for each thread, so that they do not all come at once.
            pause = float(retry_after) + random.uniform(*_FIRST) / 2  # noqa: S311 - the same
        self._sleep(min(pause, _LONGEST))

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.stop.wait(seconds)
        self.stop.check()
