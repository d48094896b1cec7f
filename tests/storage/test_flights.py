"""How many requests go at once: as many as the service's slowness needs, and of large ones what memory allows."""

from __future__ import annotations

import threading

import pytest

from azray_lab.storage.engine.flights import BYTES_IN_FLIGHT, FLIGHTS, Job, fly
from azray_lab.storage.engine.model import MiB


class _Gauge:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self.most = self.inside = 0
        self._changed = threading.Condition()

    def wait(self, seconds: float) -> None:
        """Waits, as for a service that takes so long."""
        with self._changed:
            self._enter()
            self._changed.wait(seconds)
            self.inside -= 1

    def meet(self, others: int) -> None:
        """Waits until so many are inside; they would wait for ever if they were never let in together."""
        with self._changed:
            self._enter()
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= others, timeout=60)
            self.inside -= 1

    def _enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)


def test_a_service_that_lets_wait_is_asked_by_many_at_once():
    """Small requests that take 50 ms and hardly any CPU come to be 64 at once, however many there are, and no more."""
    gauge = _Gauge()
    for _ in fly(Job(lambda: gauge.wait(0.05)) for _ in range(1000)):
        pass
    assert gauge.most == FLIGHTS


@pytest.mark.parametrize("cost", [4 * MiB, 8 * MiB])
def test_large_requests_go_at_once_up_to_their_bytes(cost: int):
    """All that memory allows are under way before the first is over, and never more."""
    gauge, allowed = _Gauge(), BYTES_IN_FLIGHT // cost
    for _ in fly(Job(lambda: gauge.meet(allowed), cost) for _ in range(3 * allowed)):
        pass
    assert gauge.most == allowed


def test_the_number_of_flights_can_be_bounded():
    """`flights` holds for large and small ones."""
    gauge = _Gauge()
    for _ in fly((Job(lambda: gauge.wait(0.001), MiB * (number % 2)) for number in range(200)), flights=3):
        pass
    assert gauge.most == 3
