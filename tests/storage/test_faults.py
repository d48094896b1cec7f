"""What goes wrong between us and a Blob service, on a server that does it on demand: its error, and no trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from azray_lab import blob
from azray_lab.errors import AzRayError, BlobNotFoundError, CancelledError, CredentialError, StorageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.engine.stopping import Stop
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.operation import Event, Task

_MiB = 2**20
_CONTENT = bytes(range(256)) * 4096  # 1 MiB, no two neighbours alike
_SIZE = 24 * _MiB


@pytest.fixture(scope="module")
def module_server() -> Iterator[BlobServer]:
    """One server for the module, with the blob `large` and the small ones `small/0` to `small/199`."""
    with run_blob_server() as server:
        server.seed("data", "large", 1, _CONTENT, _SIZE // _MiB)
        server.seed("data", "small/{}", 200, b"small")
        yield server


@pytest.fixture
def server(module_server: BlobServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobServer]:
    """The module's server, without faults before and after; the environment points at it."""
    for name, value in module_server.environment().items():
        monkeypatch.setenv(name, value)
    module_server.faults()
    yield module_server
    module_server.faults()


@pytest.fixture
def engine(server: BlobServer) -> Engine:
    """An engine on the server."""
    return engine_for(BlobUri.parse("az://data"), server.environment())


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_bulk_data_goes_by_obstore(server: BlobServer, engine: Engine, tmp_path: Path):
    """Reads and small writes are obstore's; names that it cannot say, listings and blocks are not."""
    engine.get_file("data", "large", tmp_path / "x")
    engine.put("data", "one", b"1")
    assert server.counts() == {"GET": 6, "PUT": 1, "from object_store": 7}
    server.faults()
    engine.put("data", "odd//name/", b"1")
    engine.get_bytes("data", "odd//name/")
    engine.put("data", "blocks", _CONTENT * 17)
    next(engine.list("data"))
    counts = {"PUT": 1, "GET": 1, "PUT block": 3, "PUT blocklist": 1, "GET list": 1}
    assert server.counts() == {**counts, "from azray-lab": 7}


def test_over_tls_with_an_authority_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """SSL_CERT_FILE counts for both ways to ask; without it the certificate is refused, and said so."""
    with run_blob_server(tls=True) as secure:
        environ = secure.environment()
        with pytest.raises(StorageError, match="certificate"):
            blob.read("az://data/x", environ=environ)
        program = "from azray_lab import blob; blob.copy('az://data', 'down', recursive=True).run()"
        secure.seed("data", "a{}", 3, b"bytes")
        secure.faults()
        subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=os.environ | environ, timeout=120)
        assert {"GET list": 1, "from object_store": 3}.items() <= secure.counts().items()
    assert _below(tmp_path) == ["down", "down/a0", "down/a1", "down/a2"]
    del monkeypatch


_REFUSALS = [
    (400, "InvalidHeaderValue", StorageError, "InvalidHeaderValue"),
    (401, "NoAuthenticationInformation", CredentialError, "AZURE_STORAGE_CONNECTION_STRING"),
    (403, "AuthenticationFailed", CredentialError, "AZURE_STORAGE_CONNECTION_STRING"),
    (403, "AuthorizationPermissionMismatch", CredentialError, "Storage Blob Data Contributor"),
    (404, "BlobNotFound", BlobNotFoundError, "azray blob ls az://data"),
    (404, "ContainerNotFound", BlobNotFoundError, "azray blob mb az://data"),
    (400, "InvalidBlockList", StorageError, "somebody else"),
    (403, "AccountIsDisabled", CredentialError, "az account list"),
    (409, "BlobArchived", StorageError, "az storage blob set-tier --tier Hot --account-name devstoreaccount1 --cont"),
    (409, "BlobBeingRehydrated", StorageError, "--container-name data --name x (rehydrationStatus)"),
    (409, "BlobImmutableDueToPolicy", StorageError, "immutability policy"),
    (409, "InvalidBlobType", StorageError, "page or append blob"),
    (409, "ContainerBeingDeleted", StorageError, "wait half a minute"),
    (412, "LeaseIdMissing", StorageError, "lease"),
    (412, "ConditionNotMet", StorageError, "changed"),
    (429, "TooManyRequests", StorageError, "throttled"),
    (500, "InternalError", StorageError, "inside the service"),
    (503, "ServerBusy", StorageError, "throttled"),
]


@pytest.mark.parametrize(("status", "code", "kind", "words"), _REFUSALS)
@pytest.mark.parametrize("verb", ["get", "put"])
def test_what_the_service_refuses(
    server: BlobServer, engine: Engine, status: int, code: str, kind: type[AzRayError], words: str, verb: str
):
    """The status becomes our error with the service's word, its request and what to do; retried when there is hope."""
    server.faults({"path": "/data/x", "status": status, "code": code, "headers": {"Retry-After": "0"}})
    with pytest.raises(kind) as caught:
        engine.get_bytes("data", "x") if verb == "get" else engine.put("data", "x", b"1")
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert {
        "status": status,
        "code": code,
        "request_id": "1",
        "uri": "az://data/x",
    }.items() <= caught.value.facts.items()
    assert caught.value.next_step
    # One by obstore, then by the standard library: once, or six times where another try may help.
    assert server.counts()[verb.upper()] == (7 if status in {429, 500, 503} else 2)


_EXPIRED = """Signature not valid in the specified time frame: Start [Sat, 01 Nov 2025 00:00:00 GMT] -
    Expiry [Sun, 02 Nov 2025 00:00:00 GMT] - Current [Fri, 21 Nov 2025 13:00:00 GMT]"""
_MISMATCH = """The MAC signature found in the HTTP request 'c2VjcmV0' is not the same as any computed signature. Server
    used following string to sign: 'GET\n\nsecret'."""


@pytest.mark.parametrize(
    ("detail", "words"),
    [(_EXPIRED, "AuthenticationFailed: Signature not valid in the specified time frame: Start [Sat, 01 Nov 2025"),
     (_MISMATCH, "request ... is not the same as any computed signature. Next:"),
     ("Signature did not match. String to sign used was r\n\n/blob/secret", "AuthenticationFailed: Signature did not")],
)  # fmt: skip
def test_why_the_service_refuses_a_signature_is_told(server: BlobServer, engine: Engine, detail: str, words: str):
    """The service's own reason, such as the times of a signature that has ended, in a line, without what it quotes."""
    server.faults({"path": "/data/x", "status": 403, "code": "AuthenticationFailed", "detail": detail})
    with pytest.raises(CredentialError) as caught:
        engine.get_bytes("data", "x")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.slow
def test_answers_that_always_break_off(server: BlobServer, engine: Engine):
    """Somebody answers, so the address is right: what is said is that the connection breaks."""
    server.faults({"path": "/data/large", "cut": 1000, "headers": {"Retry-After": "0"}})
    with pytest.raises(StorageError, match=r"breaks off its answers.*try again") as caught:
        engine.wire.read("data", "large", 0, 4 * _MiB)
    assert "AZURE_STORAGE" not in caught.value.next_step


def test_throttling_is_ridden_out(server: BlobServer, engine: Engine):
    """Ten 503 among hundreds of requests are each asked again; nothing is lost and no thread waits for another."""
    server.faults({"method": "GET", "every": 17, "times": 10, "status": 503, "code": "ServerBusy"})
    places = [("data", f"small/{number}") for number in range(200)]
    assert engine.get_many(places) == [b"small"] * 200
    assert server.counts()["GET"] == 210


def test_retry_after_holds_every_thread_back(server: BlobServer, engine: Engine):
    """When the service says how long, no request of any thread comes before."""
    server.faults({"method": "GET", "times": 2, "status": 503, "code": "ServerBusy", "headers": {"Retry-After": "1"}})
    began = time.monotonic()
    engine.get_bytes("data", "small/1")
    engine.get_bytes("data", "small/2")
    assert time.monotonic() - began >= 1.0  # the least that was asked for; how much more is the machine's affair
    assert server.counts()["GET"] == 4


@pytest.mark.parametrize("verb", ["get", "file", "put", "list"])
def test_a_connection_cut_half_way_is_resumed(server: BlobServer, engine: Engine, verb: str, tmp_path: Path):
    """Every fourth answer breaks off in the middle: what came is right all the same."""
    server.faults({"path": "data", "every": 4, "cut": 1000})
    if verb == "get":
        assert engine.get_bytes("data", "large") == _CONTENT * (_SIZE // _MiB)
    elif verb == "file":
        assert engine.get_file("data", "large", tmp_path / "x") is not None
        assert (tmp_path / "x").read_bytes() == _CONTENT * (_SIZE // _MiB)
    elif verb == "put":
        engine.put("data", "cut", _CONTENT * 20)
        server.faults()
        assert engine.get_bytes("data", "cut") == _CONTENT * 20
    else:
        for _ in range(8):
            assert len(list(engine.list("data", "small/"))) == 200


def test_a_body_shorter_than_promised(server: BlobServer, engine: Engine, tmp_path: Path):
    """A range that lacks its last bytes, and says so, is an error and no short file."""
    server.faults({"method": "GET", "path": "large", "every": 3, "short": 1})
    with pytest.raises(StorageError, match="cut short"):
        engine.get_file("data", "large", tmp_path / "new" / "x")
    assert _below(tmp_path) in ([], ["new"])
    server.faults({"method": "GET", "path": "comp=list", "short": 20})
    with pytest.raises(StorageError, match="listing of az://data cannot be read"):
        list(engine.list("data"))


@pytest.mark.parametrize("how", ["bytes", "file", "copy"])
def test_a_blob_changed_while_it_is_read(server: BlobServer, engine: Engine, how: str, tmp_path: Path):
    """Two versions are never mixed: the read fails, and no file is there."""
    server.seed("data", "changing", 1, _CONTENT, 24)
    server.faults({"method": "GET", "path": "changing", "every": 2, "times": 1, "change": True})
    path = tmp_path / "new" / "x"
    verbs: dict[str, Callable[[], object]] = {
        "bytes": lambda: engine.get_bytes("data", "changing"),
        "file": lambda: engine.get_file("data", "changing", path),
        "copy": lambda: blob.copy("az://data/changing", path).run(),
    }
    with pytest.raises(StorageError, match="changed") as caught:
        verbs[how]()
    assert caught.value.facts["status"] == 412
    assert _below(tmp_path) == []


def test_a_clock_that_is_wrong(server: BlobServer, engine: Engine):
    """A refusal by a service whose date is far from ours is about the clock, and says how far."""
    server.faults({"status": 403, "code": "AuthenticationFailed", "skew": 3600.0})
    with pytest.raises(CredentialError, match=r"60 minutes behind the service's.*timedatectl") as caught:
        engine.stat("data", "large")
    assert -3700 < caught.value.facts["skew_seconds"] < -3500


def test_a_host_that_refuses(server: BlobServer, monkeypatch: pytest.MonkeyPatch):
    """Nobody listens: an error that names the endpoint, after few tries."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = server.connection_string.replace(server.endpoint, f"http://127.0.0.1:{port}/devstoreaccount1")
    refused = engine_for(BlobUri.parse("az://data"), {"AZURE_STORAGE_CONNECTION_STRING": text})
    with pytest.raises(StorageError, match="does not answer") as caught:
        refused.get_bytes("data", "x")
    assert caught.value.facts["endpoint"].endswith(f":{port}/devstoreaccount1")
    del monkeypatch


def test_damage_on_the_way_is_found(server: BlobServer, engine: Engine, tmp_path: Path):
    """With checks, an MD5 of the service's that differs from the bytes is an error; without, the bytes are taken."""
    engine.put("data", "checked", _CONTENT * 9, check=True)
    assert engine.get_file("data", "checked", tmp_path / "good", check=True) is not None
    server.seed("data", "damaged", 1, _CONTENT)
    engine.put("data", "damaged", _CONTENT, check=True)
    wire = engine.wire
    wire.put("data", "damaged", b"other bytes", {"x-ms-blob-content-md5": "XUFAKrxLKna5cZ2REBfFkg=="})
    with pytest.raises(StorageError, match="arrived damaged"):
        engine.get_file("data", "damaged", tmp_path / "bad", check=True)
    assert _below(tmp_path) == ["good"]


def test_a_container_that_is_not_there(server: BlobServer, engine: Engine, tmp_path: Path):
    """The error offers to make it; `create=True` does."""
    (tmp_path / "x").write_text("x")
    with pytest.raises(BlobNotFoundError, match=r"no container az://fresh.*azray blob mb az://fresh"):
        blob.copy(tmp_path / "x", "az://fresh/x").run()
    assert blob.copy(tmp_path / "x", "az://fresh/x", create=True).run().files == 1
    engine.delete_container("fresh")
    del server


# Stopping.


def _at_first_progress(task: Task[Any], act: Callable[[], object]) -> Task[Any]:
    told: list[Event] = []

    def listener(event: Event) -> None:
        if event.kind == "progress" and not told:
            told.append(event)
            act()

    task.operation.subscribe(listener)
    return task


@pytest.mark.slow
def test_a_cancelled_download_leaves_nothing(tmp_path: Path):
    """Neither a part of the file, nor the folder that was made for it; an older file stays as it was."""
    with run_blob_server(rate=2e6) as slow:  # 2 s a range, 20 at a time
        slow.seed("data", "large", 1, _CONTENT, 300)
        environ = slow.environment()
        old = tmp_path / "old"
        old.write_text("old")
        for target in (tmp_path / "new" / "deep" / "x", old):
            task = blob.copy("az://data/large", target, environ=environ)
            with pytest.raises(CancelledError):
                _at_first_progress(task, task.operation.cancel).run()
        assert (_below(tmp_path), old.read_text()) == (["old"], "old")


def test_a_pause_ends_when_it_is_cancelled(server: BlobServer, engine: Engine):
    """Cancelled while the service wants no requests, it sends none: not the one that would come behind the pause."""
    server.faults({"method": "GET", "status": 503, "code": "ServerBusy", "headers": {"Retry-After": "14"}})
    engine.wire.pauses._calm[0], stop = 0.0, Stop()
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(engine.stoppable(stop).get_bytes, "data", "small/1", check="md5")
            deadline = time.monotonic() + 60
            while not engine.wire.pauses._calm[0]:
                assert time.monotonic() < deadline
            stop.set()
            with pytest.raises(CancelledError):
                asked.result(10)  # it would be 14
        assert server.counts()["GET"] == 1
    finally:
        engine.wire.pauses._calm[0] = 0.0  # the engine is shared: others need not wait for it


# Very many.

_PEAK = """
from pathlib import Path

def peak():  # of this program alone: ru_maxrss begins with that of the process which started it
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024
"""
_COUNT = f"""
{_PEAK}
from azray_lab import blob
from azray_lab.storage.engine import engine_for
from azray_lab.spec.uri import BlobUri

entries = engine_for(BlobUri.parse("az://many")).list("many", "folder/")
for number, entry in zip(range(10_000), entries):
    pass
before = peak()
assert 1 + number + sum(1 for _ in entries) == 100_000
print(blob.usage("az://many").to_dict()[0])
print(peak() - before)
"""


@pytest.mark.slow
def test_a_hundred_thousand_blobs_in_constant_memory(engine: Engine, server: BlobServer):
    """To list and to count 100,000 names takes no more memory than the first two pages took, and 20 requests each."""
    server.seed("many", "folder/{:06d}.bin", 100_000, b"12345678")
    server.faults()
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True, timeout=240)
    counted, grown = done.stdout.splitlines()
    assert counted == "{'name': 'folder/', 'blobs': 100000, 'bytes': 800000}"
    assert int(grown) <= 16  # MiB
    assert server.counts()["GET list"] == 40
    engine.delete_container("many")


_MANY_LARGE = f"""
{_PEAK}
import os, sys
from azray_lab import blob
from azray_lab.storage.engine import engine_for
from azray_lab.storage.filesystem import filesystem
from azray_lab.storage.sending import fetch_folder, send_folder
from azray_lab.spec.uri import BlobUri

engine, files, folder = engine_for(BlobUri.parse("az://heavy")), filesystem(), Path(sys.argv[2])
known = {{one.name[2:]: (one.size, one.etag) for one in engine.list("heavy", "x/")}}
engine.get_bytes("heavy", "x/0", 0, 1)
before = peak()
if sys.argv[1] == "restore":
    fetch_folder(engine, "heavy", "x/", known, folder / "down")
if sys.argv[1] == "get":
    files.get("heavy/x", str(folder / "down"), recursive=True)
if sys.argv[1] == "put":
    files.put(str(folder / "down"), "heavy/y", recursive=True)
if sys.argv[1] == "cp down":
    blob.copy("az://heavy/x", folder / "copied", recursive=True).run()
if sys.argv[1] == "cp up":
    blob.copy(folder / "down", "az://heavy/z", recursive=True).run()
print(peak() - before)
"""


@pytest.mark.slow
def test_many_large_files_at_once_in_bounded_memory(tmp_path: Path):
    """12 files of 48 MiB, restored, got and put by fsspec, copied both ways: never more than 256 MiB at a time."""
    with run_blob_server(latency=0.05) as slow:  # so that many requests are under way
        environ = slow.environment()
        slow.seed("heavy", "x/{}", 12, _CONTENT, 48)
        for verb, folder in {"restore": "a", "get": "b", "put": "b", "cp down": "b", "cp up": "b"}.items():
            command = [sys.executable, "-c", _MANY_LARGE, verb, str(tmp_path / folder)]
            environment = os.environ | environ
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=240)
            sizes = {path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
            assert sizes == {48 * _MiB}
            assert int(done.stdout) <= 256, verb
        for prefix in ("y/", "z/"):
            there = engine_for(BlobUri.parse("az://heavy"), environ).list("heavy", prefix)
            assert [one.size for one in there] == [48 * _MiB] * 12


_IN_MEMORY = f"""
{_PEAK}
from azray_lab.storage.engine import engine_for
from azray_lab.spec.uri import BlobUri

engine = engine_for(BlobUri.parse("az://heavy"))
engine.get_bytes("heavy", "large", 0, 1)
before = peak()
assert len(engine.get_bytes("heavy", "large")) == 256 * 2**20
print(peak() - before)
"""


@pytest.mark.slow
def test_a_large_blob_is_in_memory_once(server: BlobServer, engine: Engine):
    """256 MiB as bytes take these and what is under way, and not a copy of them."""
    server.seed("heavy", "large", 1, _CONTENT, 256)
    done = subprocess.run([sys.executable, "-c", _IN_MEMORY], capture_output=True, text=True, check=True, timeout=240)
    assert int(done.stdout) <= 256 + 224
    engine.delete_container("heavy")
