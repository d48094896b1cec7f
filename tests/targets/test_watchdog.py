"""The watchdog's judgement, with a clock of the test's own: when a lease ends, why, and what is said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from azray_lab.durable import write_json
from azray_lab.targets.base import Handle, LeaseStatus, this_process
from azray_lab.targets.local import snapshot
from azray_lab.targets.local.folders import Folders
from azray_lab.targets.local.watchdog import Watchdog

BEGAN = 1_000_000.0


class Clock:
    """Seconds since 1970, moved by the test."""

    now = BEGAN

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def handle(tmp_path: Path) -> Handle:
    """A cluster whose head is gone: nothing can keep it busy."""
    nodes = {"head": {"pid": 2**22 - 1, "started": 1.0, "session": 1, "group": "head", "index": 0, "ip": "127.64.0.1"}}
    details = {"state_dir": str(tmp_path), "runtime_dir": str(tmp_path / "run"), "nodes": nodes}
    handle = Handle("leased", "local", "0a0b", {"name": "leased"}, BEGAN, phase="up", details=details)
    write_json(Folders.of(handle).handle, handle.to_dict())
    return handle


def _lease(handle: Handle, **limits: float | None) -> None:
    write_json(Folders.of(handle).lease, {"idle": None, "max": None, "end": None, **limits})


def test_without_limits_nothing_ends(handle: Handle, clock: Clock, tmp_path: Path) -> None:
    """A cluster without a lease lives on, and the watchdog looks rarely."""
    _lease(handle)
    watchdog = Watchdog(tmp_path, clock)
    for clock.now in (BEGAN, BEGAN + 1e6):
        assert watchdog.look(handle) == ""
    assert watchdog.pause() == 15.0


def test_an_idle_cluster_is_warned_of_once_and_then_ended(
    handle: Handle, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Idleness is counted from the first look without work; the warning comes in the last fifth, the end at the end."""
    _lease(handle, idle=1000)
    watchdog = Watchdog(tmp_path, clock)
    assert watchdog.look(handle) == ""
    clock.now += 790
    assert watchdog.look(handle) == ""
    assert "warning" not in capsys.readouterr().out
    for clock.now in (BEGAN + 850, BEGAN + 900):
        assert watchdog.look(handle) == ""
    assert capsys.readouterr().out.count("warning: the lease ends in") == 1
    clock.now = BEGAN + 1000
    assert "lease.idle" in watchdog.look(handle)


def test_a_lease_that_is_over_names_the_age(handle: Handle, clock: Clock, tmp_path: Path) -> None:
    """`lease.max` ends a cluster by its age, and the next look comes at that very moment."""
    _lease(handle, max=100, end=BEGAN + 100)
    watchdog = Watchdog(tmp_path, clock)
    clock.now = BEGAN + 95
    assert watchdog.look(handle) == ""
    assert watchdog.pause() == pytest.approx(5)
    clock.now = BEGAN + 100
    assert "lease.max" in watchdog.look(handle)


def test_an_extension_postpones_the_end_of_an_idle_cluster(handle: Handle, clock: Clock, tmp_path: Path) -> None:
    """`extend` gives an idle cluster its time from now, and then idleness counts again."""
    _lease(handle, idle=10, quiet_until=BEGAN + 500)
    watchdog = Watchdog(tmp_path, clock)
    assert watchdog.look(handle) == ""
    clock.now = BEGAN + 499
    assert watchdog.look(handle) == ""
    clock.now = BEGAN + 500
    assert "lease.idle" in watchdog.look(handle)


def test_a_cluster_that_is_being_made_is_not_idle(handle: Handle, clock: Clock, tmp_path: Path) -> None:
    """While `up` or `down` is at work, no time counts as idle."""
    _lease(handle, idle=1)
    watchdog = Watchdog(tmp_path, clock)
    clock.now += 100
    assert watchdog.look(handle.but(phase="starting", maker=this_process().to_dict())) == ""
    assert snapshot.lease(handle).idle_since is None


def test_a_start_whose_maker_is_gone_is_ended(handle: Handle, clock: Clock, tmp_path: Path) -> None:
    """While `up` lives the watchdog looks often; when it was killed, the watchdog ends what it had started."""
    _lease(handle)
    watchdog = Watchdog(tmp_path, clock)
    assert watchdog.look(handle.but(phase="starting", maker=this_process().to_dict())) == ""
    assert watchdog.pause() == 2.0
    gone = {"pid": 2**22 - 1, "started": 1.0}
    assert "`up` was broken off" in watchdog.look(handle.but(phase="starting", maker=gone))


@pytest.mark.parametrize(
    ("rest", "limit", "says"), [(299.0, 3600.0, True), (301.0, 3600.0, False), (11.0, 50.0, False), (9.0, 50.0, True)]
)
def test_a_warning_comes_five_minutes_before_or_in_the_last_fifth(rest: float, limit: float, says: bool) -> None:
    """Long leases warn five minutes before their end, short ones in their last fifth."""
    terms = LeaseStatus(max=limit, expires=BEGAN + rest)
    assert bool(snapshot.ends_soon(terms, BEGAN)) == says
