"""Blobs from one account to another: by the service where it can read the source, else through here with all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import generate_container_sas

from azray_lab import blob
from azray_lab.errors import BlobNotFoundError, StorageError
from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.between import Crossing
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.blob import CopyResult
    from azray_lab.operation import Task
    from azray_lab.testing.azurite import Azurite

_MiB = 2**20
_METADATA = {"owner": "me", "run": "7"}


@pytest.fixture
def ends(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> tuple[Azurite, Azurite]:
    """Two accounts of one service, each with the container `data`; the environment has the key of both."""
    both = azurite, azurite.other()
    for end in both:
        end.container("data")
    monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.key)
    return both


def _uri(end: Azurite | BlobServer, path: str) -> str:
    endpoint = end.endpoint if isinstance(end, BlobServer) else end.blob_endpoint
    return f"{endpoint}/data/{path}"


def _engine(end: Azurite | BlobServer) -> Engine:
    return engine_for(BlobUri.parse("az://data"), end.environment())


def _notes(task: Task[CopyResult]) -> list[str]:
    return [event.message for event in task.operation.events if event.kind == "note"]


@pytest.mark.azurite
def test_the_service_copies_between_accounts(ends: tuple[Azurite, Azurite]):
    """With the source's key a signature is made that opens it to the other account: no byte passes here."""
    source, target = ends
    data = b"0123456789" * _MiB
    for number in range(3):
        _engine(source).put("data", f"from/{number} ü", data, content_type="text/x", metadata=_METADATA)
    task = blob.copy(_uri(source, "from"), _uri(target, "to"), recursive=True)
    assert task.run().bytes == 3 * len(data)
    assert _notes(task) == []
    found = _engine(target).stat("data", "to/1 ü")
    assert found is not None
    assert (found.size, found.metadata, found.fact("content-type")) == (len(data), _METADATA, "text/x")
    assert found.fact("x-ms-copy-status") == "success"  # what tells that it was the service's
    assert "sig=" not in "".join(str(event.to_dict()) for event in task.operation.events)
    assert _engine(target).get_bytes("data", "to/2 ü") == data


@pytest.mark.azurite
def test_a_signature_of_the_source_goes_along(ends: tuple[Azurite, Azurite]):
    """A source that is opened by a signature is opened by the same to the other account's service."""
    source, target = ends
    _engine(source).put("data", "signed", b"bytes", metadata=_METADATA)
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    names = source.account, "data"
    sas = generate_container_sas(*names, account_key=source.key, permission="rl", expiry=expiry)
    task = blob.copy(f"{_uri(source, 'signed')}?{sas}", _uri(target, "signed"))
    task.run()
    assert _notes(task) == []
    found = _engine(target).stat("data", "signed")
    assert found is not None
    assert (found.metadata, found.fact("x-ms-copy-status")) == (_METADATA, "success")
    told = "".join(str(event.to_dict()) for event in task.operation.events)
    assert "sig=" not in f"{told} {task.operation.name}"


@pytest.mark.azurite
def test_a_source_that_changed_is_not_copied(ends: tuple[Azurite, Azurite]):
    """The service copies the version that was listed, or none."""
    source, target = ends
    _engine(source).put("data", "changing", b"one")
    entry = _engine(source).stat("data", "changing")
    assert entry is not None
    crossing = Crossing(_engine(source), _engine(target), Operation("copy"), check=False)
    _engine(source).put("data", "changing", b"two")
    with pytest.raises(StorageError, match="changed"):
        crossing.item(("data", "changing"), entry, ("data", "changed")).part(0)
    assert not _engine(target).exists("data", "changed")


@pytest.fixture(scope="module")
def two_servers() -> Iterator[tuple[BlobServer, BlobServer]]:
    """Two services that cannot read each other's blobs."""
    with run_blob_server() as one, run_blob_server() as two:
        one.seed("data")
        two.seed("data")
        yield one, two


@pytest.fixture
def apart(two_servers: tuple[BlobServer, BlobServer], monkeypatch: pytest.MonkeyPatch) -> tuple[BlobServer, BlobServer]:
    """The same, without faults."""
    for server in two_servers:
        server.faults()
    parts = dict(part.partition("=")[::2] for part in two_servers[0].connection_string.split(";") if part)
    monkeypatch.setenv("AZURE_STORAGE_KEY", parts["AccountKey"])
    return two_servers


_KEPT = {
    "x-ms-blob-content-type": "text/csv",
    "x-ms-blob-content-encoding": "gzip",
    "x-ms-blob-cache-control": "no-store",
    "x-ms-blob-content-language": "de",
    "x-ms-blob-content-disposition": "attachment",
    "x-ms-access-tier": "Cool",
    "x-ms-meta-owner": "me",
}


@pytest.mark.parametrize("check", [False, "md5", "crc64"])
@pytest.mark.parametrize("size", [0, 5, 20 * _MiB + 3], ids=["empty", "small", "large"])
def test_what_passes_through_here_is_kept_whole(apart: tuple[BlobServer, BlobServer], size: int, check: Any):
    """Bytes, metadata, media type, properties, the MD5 and a tier that was set; and a note says where they pass."""
    one, two = apart
    upload = _engine(one).upload("data", "kept", check="md5")
    upload._headers = _KEPT
    upload.whole(data := (b"0123456789" * 2 * _MiB + b"abc")[:size])
    task = blob.copy(_uri(one, "kept"), _uri(two, "kept"), check=check)
    task.run()
    assert _notes(task) == ["the bytes pass through this machine: an emulator reads no other service's blobs"]
    found, sent = _engine(two).stat("data", "kept"), _engine(one).stat("data", "kept")
    assert found is not None
    assert sent is not None
    names = [name.removeprefix("x-ms-blob-") for name in _KEPT]
    assert {name: found.fact(name) for name in names} == dict(zip(names, _KEPT.values(), strict=True))
    assert found.fact("content-md5") == sent.fact("content-md5") != ""
    assert _engine(two).get_bytes("data", "kept") == data


def test_a_tier_that_nobody_set_is_not(apart: tuple[BlobServer, BlobServer]):
    """What an account gives by itself stays that of the other account."""
    one, two = apart
    one.seed("data", "plain", 1, b"bytes")
    blob.copy(_uri(one, "plain"), _uri(two, "plain")).run()
    found = _engine(two).stat("data", "plain")
    assert found is not None
    assert found.fact("x-ms-access-tier-inferred") == "true"


def test_a_service_that_may_not_read_the_source(apart: tuple[BlobServer, BlobServer]):
    """Refused once, the bytes of this and of all other blobs pass through here, and it is said once, with the code."""
    one, _ = apart
    data = b"0123456789" * 2 * _MiB
    _engine(one).put("data", "behind/a wall", data, metadata=_METADATA)
    _engine(one).put("data", "behind/b", b"b")
    one.faults({"method": "PUT", "times": 1, "path": "copied", "status": 403, "code": "CannotVerifyCopySource"})
    account = dataclasses.replace(_engine(one).account, endpoint=one.endpoint.replace("account1", "account2"))
    operation: Operation[None] = Operation("copy")
    crossing = Crossing(_engine(one), Engine(account), operation, check=False)
    for name in ("a wall", "b"):
        entry = _engine(one).stat("data", f"behind/{name}")
        assert entry is not None
        item = crossing.item(("data", f"behind/{name}"), entry, ("data", f"copied/{name}"))
        item.begin()
        item.part(0)
    assert [event.message for event in operation.events] == [
        "the bytes pass through this machine: the service may not read the source (CannotVerifyCopySource)"
    ]
    found = _engine(one).stat("data", "copied/a wall")
    assert found is not None
    assert found.metadata == _METADATA
    assert _engine(one).get_bytes("data", "copied/a wall") == data
    assert one.counts()["PUT block"] == 3


def test_a_source_that_is_not_there_is_named(apart: tuple[BlobServer, BlobServer]):
    """Also between accounts: the error names the source."""
    one, two = apart
    with pytest.raises(BlobNotFoundError, match="data/none"):
        blob.copy(_uri(one, "none"), _uri(two, "none")).run()
