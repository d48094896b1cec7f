"""Checksums end to end: known values, what travels with each request, and what damage on the way becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azray_lab import blob
from azray_lab.errors import StorageError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.engine.checksums import CRC64, MD5, Check, chosen, crc64_of
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

_MiB = 2**20
_CONTENT = bytes(range(256)) * 4096  # 1 MiB, no two neighbours alike
_KINDS: tuple[Check, ...] = ("md5", "crc64")


@pytest.fixture(scope="module")
def module_server() -> Iterator[BlobServer]:
    """One server for the module."""
    with run_blob_server() as server:
        server.seed("data")
        yield server


@pytest.fixture
def server(module_server: BlobServer) -> Iterator[BlobServer]:
    """The module's server, without faults before and after."""
    module_server.faults()
    yield module_server
    module_server.faults()


@pytest.fixture
def engine(server: BlobServer) -> Engine:
    """An engine on the server."""
    return engine_for(BlobUri.parse("az://data"), server.environment())


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_known_values():
    """CRC64 as the tests of Azure's C++ SDK and the catalogue of CRCs (CRC-64/NVME) have it; MD5 as RFC 1321."""
    assert (crc64_of(b""), crc64_of(b"Hello Azure!")) == ("AAAAAAAAAAA=", "DtjZpL9/o8c=")
    assert crc64_of(memoryview(b"123456789")) == "iJh5CoYUi64="  # 0xAE8B14860A799888, its lowest byte first
    assert MD5.of(b"abc") == "kAFQmDzST7DWlj99KOF/cg=="


def test_which_checksum_is_meant():
    """True is MD5, False none; a name that is none is an error that knows the nearest."""
    assert [chosen(check) for check in (False, True, "md5", "crc64")] == [None, MD5, MD5, CRC64]
    with pytest.raises(UsageError, match="Did you mean 'crc64'"):
        chosen("crc46")  # type: ignore[arg-type]


@pytest.mark.parametrize("check", _KINDS)
@pytest.mark.parametrize("size", [0, 5, 21 * _MiB + 7], ids=["empty", "small", "large"])
def test_there_and_back(server: BlobServer, engine: Engine, check: Check, size: int, tmp_path: Path):
    """What is sent with checksums comes back with them; the server compares each, and no request goes without."""
    path = tmp_path / "up"
    path.write_bytes((_CONTENT * 22)[:size])
    blob.copy(path, "az://data/back", check=check, environ=server.environment()).run()
    blob.copy("az://data/back", tmp_path / "down", check=check, environ=server.environment()).run()
    assert (tmp_path / "down").read_bytes() == path.read_bytes()
    assert engine.get_file("data", "back", tmp_path / "file", check=check) is not None
    assert engine.get_bytes("data", "back", check=check) == path.read_bytes()
    assert "from object_store" not in server.counts()  # which could not compare
    found = engine.stat("data", "back")
    assert found is not None
    assert found.fact("content-md5") == (MD5.of(path.read_bytes()) if check == "md5" else "")


@pytest.mark.parametrize("check", _KINDS)
@pytest.mark.parametrize("how", ["bytes", "file", "copy"])
def test_damage_on_the_way_here(server: BlobServer, engine: Engine, check: Check, how: str, tmp_path: Path):
    """A bit that flips once: the range is asked for again, and is right. Each time: an error, and no file."""
    server.seed("data", "large", 1, _CONTENT, 20)
    verbs: dict[str, Callable[[], object]] = {
        "bytes": lambda: engine.get_bytes("data", "large", check=check),
        "file": lambda: engine.get_file("data", "large", tmp_path / "new" / "x", check=check),
        "copy": lambda: blob.copy("az://data/large", tmp_path / "x", check=check, environ=server.environment()).run(),
    }
    server.faults({"method": "GET", "path": "large", "every": 3, "times": 1, "damage": True})
    verbs[how]()
    assert server.counts()["GET"] == 6
    for left in tmp_path.rglob("x"):
        left.unlink()
    server.faults({"method": "GET", "path": "large", "damage": True})
    with pytest.raises(StorageError, match="az://data/large arrived damaged") as caught:
        verbs[how]()
    assert (chosen(check) or MD5).name in caught.value.cause
    assert "copy it again" in caught.value.next_step
    assert [name for name in _below(tmp_path) if name != "new"] == []


@pytest.mark.parametrize("check", _KINDS)
@pytest.mark.parametrize("size", [5, 20 * _MiB], ids=["small", "large"])
def test_damage_on_the_way_there(server: BlobServer, engine: Engine, check: Check, size: int):
    """A bit that flips in what is sent: it is sent again; each time: the service refuses it, and no blob appears."""
    server.faults({"method": "PUT", "path": "repaired", "times": 1, "damage": True})
    engine.put("data", "repaired", (_CONTENT * 20)[:size], check=check)
    assert engine.get_bytes("data", "repaired") == (_CONTENT * 20)[:size]
    server.faults({"method": "PUT", "path": "damaged", "damage": True})
    with pytest.raises(StorageError, match="arrived damaged at the service") as caught:
        engine.put("data", "damaged", (_CONTENT * 20)[:size], check=check)
    assert caught.value.facts["code"] == f"{'Md5' if check == 'md5' else 'Crc64'}Mismatch"
    server.faults()
    assert not engine.exists("data", "damaged")


@pytest.mark.parametrize("check", _KINDS)
def test_damage_on_the_disk(server: BlobServer, engine: Engine, check: Check, tmp_path: Path):
    """What lies on the disk is read again before the file gets its name: bytes that changed there are an error."""
    from azray_lab.storage.engine.download import compare
    from azray_lab.storage.engine.landing import Landing

    server.seed("data", "one", 1, _CONTENT, 5)
    landing = Landing(tmp_path / "x")
    landing.begin(5 * _MiB)
    for start in (0, 4 * _MiB):
        found = engine.read("data", "one", start, min(start + 4 * _MiB, 5 * _MiB), check=check)
        landing.write(start, found.data, found.checksum)
    compare(engine, "data", "one", landing, check)
    landing.write(4 * _MiB + 1, b"?")
    with pytest.raises(StorageError, match="arrived damaged"):
        compare(engine, "data", "one", landing, check)
    landing.discard()


def test_damage_before_it_was_kept(engine: Engine, tmp_path: Path):
    """A blob whose kept MD5 is not that of its bytes: an error with MD5, which is kept; CRC64 knows ranges only."""
    engine.wire.put("data", "old", b"other bytes", {"x-ms-blob-content-md5": MD5.of(b"bytes")})
    with pytest.raises(StorageError, match="arrived damaged"):
        engine.get_file("data", "old", tmp_path / "x", check="md5")
    assert engine.get_file("data", "old", tmp_path / "y", check="crc64") is not None
    assert _below(tmp_path) == ["y"]


def test_the_server_is_strict(engine: Engine):
    """Both checksums in one request, or one of more than 4 MiB, are refused by the test server as by Azure."""
    with pytest.raises(StorageError, match="BothCrc64AndMd5HeaderPresent"):
        engine.wire.put("data", "x", b"1", {"x-ms-blob-content-md5": MD5.of(b"1")}, check="crc64")
    engine.put("data", "five", _CONTENT * 5)
    for check in _KINDS:
        with pytest.raises(StorageError, match="InvalidHeaderValue"):
            engine.wire.read("data", "five", 0, 5 * _MiB, check=check)


@pytest.mark.azurite
def test_a_service_without_crc64(azurite: Azurite, tmp_path: Path):
    """Azurite knows MD5 alone: with CRC64 nothing is copied and the error says which one to take."""
    azurite.container("data")
    environ = azurite.environment()
    (tmp_path / "x").write_bytes(b"bytes")
    blob.copy(tmp_path / "x", "az://data/x", check="md5", environ=environ).run()
    for ends in ((tmp_path / "x", "az://data/y"), ("az://data/x", tmp_path / "y")):
        with pytest.raises(StorageError, match="--check md5"):
            blob.copy(*ends, check="crc64", environ=environ).run()
    assert [one["uri"] for one in blob.list_blobs("az://data", environ=environ).to_dict()] == ["az://data/x"]
    assert _below(tmp_path) == ["x"]
