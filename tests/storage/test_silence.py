"""Hosts that say nothing: when they are asked to connect, before the answer, in the middle of it; and no host at all.

The deadlines are made short here; how often a host is asked, and that it ends in our error, is what is looked at.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azray_lab.errors import StorageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.testing.azurite import ACCOUNT, KEY
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Account

pytestmark = pytest.mark.slow  # each waits for deadlines
_MiB = 2**20
_SHORT = 0.25
_SILENT = ("connections.SILENT_SECONDS", "fast.SILENT_SECONDS", "fast.SENDING_SECONDS")
_CONNECT = ("connections.CONNECT_SECONDS", "fast.CONNECT_SECONDS")


def _patch(monkeypatch: pytest.MonkeyPatch, places: tuple[str, ...], seconds: float) -> None:
    for place in places:
        monkeypatch.setattr(f"azray_lab.storage.engine.{place}", seconds)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second instead of 10 and of 30, also behind a body."""
    _patch(monkeypatch, _SILENT, _SHORT)
    monkeypatch.setattr("azray_lab.storage.engine.connections.SLOWEST", 1 << 60)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second to connect instead of 4."""
    _patch(monkeypatch, _CONNECT, _SHORT)


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """One server for the module."""
    with run_blob_server() as running:
        running.seed("data", "large", 1, bytes(_MiB), 20)
        yield running


@pytest.fixture
def engine(server: BlobServer) -> Engine:
    """A new engine on the server: the deadlines of the shared one are made already."""
    server.faults()
    return Engine(engine_for(BlobUri.parse("az://data"), server.environment()).account)


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("sent", [0, 1, 3 * _MiB], ids=["no-head", "one-byte", "half-of-it"])
def test_a_download_that_falls_silent(server: BlobServer, engine: Engine, sent: int, tmp_path: Path):
    """Before the head or in a body: each range is asked for three times, first by obstore; then an error, no file."""
    server.faults({"method": "GET", "hang": sent})
    with pytest.raises(StorageError, match=r"does not answer: it said nothing for 0\.25 s\. Next: check the addr"):
        engine.get_file("data", "large", tmp_path / "new" / "x")
    # Without a head nothing is known of other ranges; with one, there are five.
    assert server.counts()["GET"] in ({3} if not sent else range(3, 16))
    assert _below(tmp_path) == []


@pytest.mark.slow
def test_a_range_that_falls_silent_once(server: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second range of five stops half way; asked again, it comes: the file is whole."""
    _patch(monkeypatch, _SILENT, 2.0)  # longer than a busy machine lets a healthy one wait
    engine = Engine(engine_for(BlobUri.parse("az://data"), server.environment()).account)
    server.faults({"method": "GET", "every": 2, "times": 1, "hang": _MiB})
    assert engine.get_file("data", "large", tmp_path / "x") is not None
    assert (tmp_path / "x").stat().st_size == 20 * _MiB
    assert server.counts()["GET"] >= 6


@pytest.mark.parametrize(
    ("kind", "asked", "verb"),
    [
        ("PUT", 3, lambda engine: engine.put("data", "new", b"bytes")),
        ("PUT block", 2, lambda engine: engine.put("data", "new", bytes(9 * _MiB), check="crc64")),
        ("HEAD", 2, lambda engine: engine.stat("data", "large")),
        ("GET list", 2, lambda engine: next(engine.list("data"))),
        ("DELETE", 2, lambda engine: engine.delete("data", "none")),
        ("PUT", 2, lambda engine: engine.copy(("data", "large"), ("data", "new"))),
    ],
    ids=["put", "block", "stat", "list", "delete", "copy"],
)
def test_every_other_verb(server: BlobServer, engine: Engine, kind: str, asked: int, verb: Callable[[Engine], object]):
    """Each is given up after two tries, or three where obstore asks first."""
    server.faults({"hang": 0})
    with pytest.raises(StorageError, match="does not answer: it said nothing for"):
        verb(engine)
    # Of two blocks at once each is asked for twice, unless the first one's error ends the other before.
    assert server.counts()[kind] in ({asked} if kind != "PUT block" else {2, 3, 4})


def _at(port: int, scheme: str) -> Account:
    endpoint = f"{scheme}://127.0.0.1:{port}/{ACCOUNT}"
    text = f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint}"
    return engine_for(BlobUri.parse("az://data"), {"AZURE_STORAGE_CONNECTION_STRING": text}).account


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_does_not_even_accept(scheme: str):
    """Its queue of connections is full, so that the system says nothing to new ones: given up, with that reason."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):  # which are never accepted
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        engine = Engine(_at(listener.getsockname()[1], scheme))
        with pytest.raises(StorageError, match=r"does not answer: no connection within 0\.25 s"):
            engine.get_bytes("data", "x")


@pytest.mark.usefixtures("impatient")
def test_a_host_that_accepts_and_does_not_speak_tls():
    """The connection is there, the handshake is not: the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        engine = Engine(_at(listener.getsockname()[1], "https"))
        with pytest.raises(StorageError, match="does not answer: no connection within"):
            engine.stat("data", "x")


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
def test_a_slow_line_is_not_silent(tls: bool):
    """A body whose bytes leave for longer than the deadline is sent once; the deadline is that of a piece of it."""
    with run_blob_server(intake=12 * _MiB, tls=tls) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", server.certificate)
        patch.setattr("azray_lab.storage.engine.connections.SLOWEST", _MiB)
        patch.setattr("azray_lab.storage.engine.connections.SILENT_SECONDS", 1.5)
        server.seed("data")
        engine = Engine(engine_for(BlobUri.parse("az://data"), server.environment()).account)
        engine.upload("data", "large").whole(bytes(48 * _MiB))
        assert server.counts()["PUT"] == 1
        assert [one.size for one in engine.list("data")] == [48 * _MiB]


_LOOK_UP = """
import sys, threading

asked = []
never = threading.Event()

def watch(event, arguments):
    if event in {"socket.getaddrinfo", "socket.connect"}:
        asked.append(event)
        if sys.argv[1] == "hangs":
            never.wait()

sys.addaudithook(watch)
from azray_lab import blob
from azray_lab.errors import StorageError
from azray_lab.storage.engine import connections

if sys.argv[1] == "hangs":
    connections.RESOLVE_SECONDS = 0.25
address = "https://this-account-does-not-exist.blob.invalid/data/x?sv=1&sig=s3cret"
down, up = (address, "x"), ("/etc/hosts", address)
for ask in (lambda: blob.read(address), lambda: blob.copy(*down).run(), lambda: blob.copy(*up).run()):
    try:
        ask()
    except StorageError as error:
        print(error)
print(asked)
"""


@pytest.mark.parametrize(("how", "cause"), [("fails", ""), ("hangs", "no answer within 0.25 s")])
def test_a_name_that_nobody_knows(how: str, cause: str, tmp_path: Path):
    """An account that is not there costs one look-up a verb, which has a deadline of its own, and no connection."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOK_UP, how], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=120
    )
    *errors, asked = done.stdout.splitlines()
    assert len(errors) == 3
    for error in errors:
        assert error.startswith("there is no host this-account-does-not-exist.blob.invalid")
        assert cause in error
        assert "s3cret" not in error
    assert asked == str(["socket.getaddrinfo"] * 3)
    assert _below(tmp_path) == []
