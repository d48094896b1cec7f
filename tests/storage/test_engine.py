"""The engine against a real Blob service: bytes, names, versions, files, listings, copies, forked children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azray_lab.errors import BlobNotFoundError, StorageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, Entry, engine_for

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite

_MiB = 2**20
# obstore cannot say those of the second line, or reads another blob for them.
_NAMES = ("plain", "a b.txt", "100%25?x#y", "%2F", "ünï/日本/ß.bin", "+ +", "x~y*", "q'u\"o<t>&e", "..x/.y", "n" * 1024,
          "a//b", "folder/", "/lead", "tab\tx", "new\nline", "/", "//")  # fmt: skip


@pytest.fixture
def engine(azurite: Azurite) -> Engine:
    """An engine on the module's server, which has the container `data`."""
    azurite.container("data")
    return engine_for(BlobUri.parse("az://data"), azurite.environment())


@pytest.fixture(scope="module")
def large() -> bytes:
    """Bytes of several ranges and blocks, each different."""
    return os.urandom(21 * _MiB + 7)


@pytest.mark.parametrize("name", _NAMES)
def test_every_name_works_in_every_verb(engine: Engine, name: str, tmp_path: Path):
    """Written, read, seen, listed, copied to a file and removed: exactly that blob, whatever its name."""
    data = f"this is {name}".encode()
    engine.put("data", name, data)
    assert engine.get_bytes("data", name) == data
    found = engine.stat("data", name)
    assert found is not None
    assert (found.name, found.size) == (name, len(data))
    assert [(one.name, one.etag) for one in engine.list("data", name) if one.name == name] == [(name, found.etag)]
    assert engine.get_file("data", name, tmp_path / "file") is not None
    assert (tmp_path / "file").read_bytes() == data
    assert engine.delete("data", name)
    assert not engine.delete("data", name)
    assert not engine.exists("data", name)


def test_ranges_of_a_large_blob(engine: Engine, large: bytes):
    """The whole and any part of it are what was put, also across ranges and behind the end."""
    engine.put("data", "large", large)
    assert engine.get_bytes("data", "large") == large
    for start, end in ((0, 1), (5, 5), (3 * _MiB, 9 * _MiB), (len(large) - 3, len(large) + 50), (len(large) + 9, None)):
        assert engine.get_bytes("data", "large", start, end) == large[start:end]
    ranges = [(7, 9), (0, 5 * _MiB), (len(large) - 1, len(large))]
    assert engine.get_ranges("data", "large", ranges) == [large[start:end] for start, end in ranges]


def test_an_empty_blob(engine: Engine, tmp_path: Path):
    """No byte to read is no error, though a service refuses any range of it."""
    engine.put("data", "empty", b"")
    assert engine.get_bytes("data", "empty") == b""
    assert engine.get_file("data", "empty", tmp_path / "empty") == Entry("blob", "empty", 0)
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_file_is_complete_or_not_there(engine: Engine, large: bytes, tmp_path: Path):
    """A missing blob is None and leaves no folder; a checked download agrees with the MD5 that the upload kept."""
    assert engine.get_file("data", "not-there", tmp_path / "new" / "x") is None
    engine.put("data", "checked", large, check=True)
    assert engine.get_file("data", "checked", tmp_path / "new" / "x", check=True, durable=True) is not None
    assert (tmp_path / "new" / "x").read_bytes() == large
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_what_is_kept_with_a_blob(engine: Engine):
    """Metadata and the media type; by its name where none is given, and a .gz is just bytes."""
    engine.put("data", "x.json", b"{}", metadata={"owner": "me"})
    found = engine.stat("data", "x.json")
    assert found is not None
    assert (found.metadata, found.fact("content-type")) == ({"owner": "me"}, "application/json")
    assert found.modified is not None
    engine.put("data", "x.csv.gz", b"")
    packed = engine.stat("data", "x.csv.gz")
    assert packed is not None
    assert packed.fact("content-type") == "application/octet-stream"


def test_only_the_version_that_was_asked_for(engine: Engine):
    """Another version is an error, not other bytes; `overwrite=False` leaves what is there."""
    first = engine.put("data", "version", b"one")
    assert engine.get_bytes("data", "version", etag=first.etag) == b"one"
    engine.put("data", "version", b"two")
    with pytest.raises(StorageError, match="412") as caught:
        engine.get_bytes("data", "version", etag=first.etag)
    assert caught.value.facts["code"] == "ConditionNotMet"
    with pytest.raises(StorageError, match="409"):
        engine.put("data", "version", b"three", overwrite=False)
    assert engine.get_bytes("data", "version") == b"two"


def test_listing_by_prefix_and_by_folder(engine: Engine):
    """A prefix need not end at a slash; the delimiter makes folders of what lies deeper."""
    for name in ("list/a", "list/ab/c", "list/ab/d", "list/b"):
        engine.put("data", name, name.encode())
    assert [one.name for one in engine.list("data", "list/a")] == ["list/a", "list/ab/c", "list/ab/d"]
    found = [(one.kind, one.name, one.size) for one in engine.list("data", "list/", "/")]
    assert sorted(found) == [("blob", "list/a", 6), ("blob", "list/b", 6), ("folder", "list/ab/", 0)]


def test_containers(engine: Engine):
    """Made and removed, with a word about whether it was there."""
    assert engine.create_container("another")
    assert not engine.create_container("another")
    assert "another" in [one.name for one in engine.containers()]
    assert engine.delete_container("another")
    assert not engine.delete_container("another")


def test_a_copy_by_the_service(engine: Engine):
    """Within the account, between any names; a missing source is named."""
    engine.put("data", "from here", b"bytes")
    engine.copy(("data", "from here"), ("data", "to//ü"))
    assert engine.get_bytes("data", "to//ü") == b"bytes"
    with pytest.raises(BlobNotFoundError):
        engine.copy(("data", "not-there"), ("data", "x"))


@pytest.mark.parametrize("verb", ["get_bytes", "stat", "delete", "list", "put"])
def test_a_missing_container_is_named(engine: Engine, verb: str):
    """Every verb names the container and how to make it."""
    with pytest.raises(BlobNotFoundError, match=r"there is no container az://nowhere.*azray blob mb az://nowhere"):
        list(getattr(engine, verb)("nowhere", "x", *([b"1"] if verb == "put" else [])))


def test_a_forked_child_reads_and_writes(engine: Engine):
    """Obstore hangs after a fork, so the child goes on without it and on connections of its own."""
    engine.put("data", "fork", b"parent")
    assert engine.get_bytes("data", "fork") == b"parent"
    child = os.fork()
    if not child:  # pragma: no cover - another process
        status = 1
        try:
            engine.put("data", "forked", engine.get_bytes("data", "fork") + b" and child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engine.get_bytes("data", "forked") == b"parent and child"


def test_many_at_once(engine: Engine):
    """Many small blobs come in the order in which they were asked for; many are removed at once."""
    places = [("data", f"many/{number}") for number in range(150)]
    for container, name in places:
        engine.put(container, name, name.encode())
    assert engine.get_many(places) == [name.encode() for _, name in places]
    assert engine.delete_many(places) == 150
    assert list(engine.list("data", "many/")) == []


_POISON = {
    "AZURE_STORAGE_TOKEN": "another",
    "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=another",
    "AZURE_STORAGE_ACCOUNT_NAME": "another",
    "AZURE_STORAGE_ACCOUNT_KEY": "YW5vdGhlcg==",
    "AZURE_SKIP_SIGNATURE": "true",
    "AZURE_STORAGE_USE_EMULATOR": "true",
    "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/another",
    "AZURE_USE_AZURE_CLI": "true",
    "AZURE_CREDENTIAL_TYPE": "azure_cli",
}


def test_obstore_takes_nothing_from_the_environment(azurite: Azurite, monkeypatch: pytest.MonkeyPatch):
    """Obstore reads AZURE_* by itself; whatever stands there, it uses the account and the key that it was given."""
    for name, value in _POISON.items():
        monkeypatch.setenv(name, value)
    azurite.container("data")
    engine = Engine(engine_for(BlobUri.parse("az://data"), azurite.environment()).account)
    engine._fast.put("data", "poison", b"bytes", "text/plain")
    assert bytes(engine._fast.begin("data", "poison", 0, 100).body().data) == b"bytes"


def test_importing_the_door_loads_nothing_heavy():
    """Neither obstore nor an SDK, nor the standard library's HTTP, TLS and dataclasses, before the first use."""
    heavy = ("obstore", "azure", "pydantic", "fsspec", "ssl", "http.client", "email", "asyncio", "inspect")
    program = f"import sys, azray_lab.storage.engine; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
