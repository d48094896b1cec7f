"""The ends of connections, threads and transfers: what is left behind by each, and in a forked child."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from azray_lab.errors import CancelledError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.engine.stopping import Stop
from azray_lab.testing.blob_server import BlobServer, run_blob_server

_MiB = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """One server for the module."""
    with run_blob_server() as running:
        running.seed("data", "blob", 1, b"bytes")
        yield running


def _engine(server: BlobServer) -> Engine:
    return Engine(engine_for(BlobUri.parse("az://data"), server.environment()).account)


@pytest.mark.parametrize("tls", [False, True])
def test_connections_that_the_server_has_closed_meanwhile(tls: bool):
    """Twelve are kept, all are closed unannounced: the next upload is sent once and on a new one."""
    with run_blob_server(tls=tls) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", server.certificate)
        server.seed("data")
        engine, together = _engine(server), threading.Barrier(12)
        server.faults({"leave": True, "stall": 0.3})

        def put(number: int) -> None:
            together.wait(60)
            engine.wire.put("data", str(number), b"x", {})

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(put, range(12)))
        server.faults()
        assert engine.wire.put("data", "large", bytes(8 * _MiB), {}).size == 8 * _MiB
        assert server.counts()["PUT"] == 1
        assert len(engine.wire.connections._idle) == 1


def test_what_waits_below_a_stop_ends_with_it(server: BlobServer):
    """A part may end alone; the whole ends all its parts, also those that begin later."""
    stop = Stop()
    one, other = stop.below(), stop.below()
    one.set()
    assert (one.is_set(), other.is_set(), stop.is_set()) == (True, False, False)
    server.faults({"method": "HEAD", "stall": 60.0})
    engine = _engine(server).stoppable(other)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.stat, "data", "blob")
        deadline = time.monotonic() + 60
        while not other._waiting:
            assert time.monotonic() < deadline
        stop.set()
        with pytest.raises(CancelledError):
            asked.result(20)
    server.faults()
    assert stop.below().is_set()


def _set(stop: Stop) -> None:
    stop.set()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # since Python 3.12, where threads run
def test_a_forked_child_leaves_its_parents_requests_alone(server: BlobServer):
    """A child that is forked while a request waits, and ends the transfer that it knows, does not end the parent's."""
    server.faults({"method": "HEAD", "stall": 2.0})
    stop = Stop()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_engine(server).stoppable(stop).stat, "data", "blob")
        deadline = time.monotonic() + 60
        while not stop._waiting:
            assert time.monotonic() < deadline
        child = get_context("fork").Process(target=_set, args=(stop,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert asked.result(60) is not None
    server.faults()


_FEW_THREADS = """
import resource, threading
from azray_lab.storage.engine.flights import Job, fly

threading.stack_size(64 * 2**20)
room = 400 * 2**20 + int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (room, room))
names = set()

def work():
    names.add(threading.get_ident())
    resting.wait(0.05)

resting = threading.Event()
print(len(list(fly(Job(work) for _ in range(200)))), 1 < len(names) < 64, threading.active_count())
"""


@pytest.mark.slow
def test_a_system_that_gives_no_more_threads():
    """Those that could be started do all the work, and none is left."""
    done = subprocess.run([sys.executable, "-c", _FEW_THREADS], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["200", "True", "1"]
