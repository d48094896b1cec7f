"""The local side of a copy: a disk that is full, files that change, names that cannot be, and what is in the way."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azray_lab import blob
from azray_lab.errors import BlobNotFoundError, StorageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.disk import Names
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.operation import Event

_MiB = 2**20


@pytest.fixture(scope="module")
def module_server() -> Iterator[BlobServer]:
    """A service with the container `data` and a large blob in it."""
    with run_blob_server() as running:
        running.seed("data", "large", 1, bytes(_MiB), 24)
        yield running


@pytest.fixture
def server(module_server: BlobServer, monkeypatch: pytest.MonkeyPatch) -> BlobServer:
    """The module's server, at which the environment points."""
    for name, value in module_server.environment().items():
        monkeypatch.setenv(name, value)
    return module_server


@pytest.fixture
def engine(server: BlobServer) -> Engine:
    """Its engine."""
    del server
    return engine_for(BlobUri.parse("az://data"))


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_disk_that_is_full(server: BlobServer, tmp_path: Path):
    """A limit on file sizes stands for the disk: the error names the file and the way out, and no part of it stays."""
    program = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({_MiB}, {_MiB}))
from azray_lab import blob
from azray_lab.errors import StorageError
try:
    blob.copy("az://data/large", {str(tmp_path / "new" / "x")!r}).run()
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert "cannot be written: File too large. Next: name a destination" in done.stdout
    assert _below(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (_MiB, _MiB)
    del server


def test_a_file_larger_than_the_disk_is_not_begun(server: BlobServer, tmp_path: Path):
    """What cannot fit is told before the first byte is written."""
    from azray_lab.storage.engine.landing import Landing

    with pytest.raises(StorageError, match="MiB are free") as caught:
        Landing(tmp_path / "x").begin(1 << 60)
    assert "free some space" in caught.value.next_step
    assert _below(tmp_path) == []
    del server


@pytest.mark.parametrize("name", ["\N{GRINNING FACE}" * 62, "ü" * 127, "x" * 255], ids=["emoji", "umlauts", "ascii"])
def test_the_longest_names(engine: Engine, tmp_path: Path, name: str):
    """What a file system takes as a name, counted in bytes, can be downloaded; no other file is left."""
    engine.put("data", name, b"1")
    assert engine.get_file("data", name, tmp_path / name) is not None
    assert _below(tmp_path) == [name]
    engine.delete("data", name)


@pytest.mark.parametrize("size", [10, 20 * _MiB])
def test_a_file_that_changes_while_it_is_uploaded(server: BlobServer, tmp_path: Path, size: int):
    """It is read at one time or not sent: the blob stays as it was."""
    path = tmp_path / "growing"
    path.write_bytes(b"x" * size)
    item_seen = threading.Event()
    task = blob.copy(path, "az://data/growing")

    def grow(event: Event) -> None:
        if event.kind == "started" and event.stage == "copy" and not item_seen.is_set():
            item_seen.set()
            path.write_bytes(b"y" * (size + 1))

    task.operation.subscribe(grow)
    with pytest.raises(StorageError, match="changed while it was being read"):
        task.run()
    with pytest.raises(BlobNotFoundError):
        blob.list_blobs("az://data/growing")
    del server


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/passwd", "a//b", "a/./b", ".."])
def test_a_name_that_would_leave_the_folder(server: BlobServer, engine: Engine, tmp_path: Path, name: str):
    """No blob's name leads out of the folder: the copy fails, names it, and writes nothing."""
    server.seed("names", f"evil/{name}", 1, b"evil")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(StorageError, match="cannot be a local file") as caught:
        blob.copy("az://names/evil", inside, recursive=True).run()
    assert caught.value.facts["name"] == name
    assert _below(tmp_path) == ["inside"]
    engine.delete_container("names")


def test_names_that_differ_in_case_only(tmp_path: Path):
    """On a file system that folds case the second one is an error that names both; on others both are files."""
    names = Names(tmp_path, folds=True)
    assert names.path("a/Read.me") == tmp_path / "a" / "Read.me"
    with pytest.raises(StorageError, match=r"'a/Read\.me' and 'a/read\.ME' would be one file"):
        names.path("a/read.ME")
    both = Names(tmp_path)
    assert (both.path("x"), both.path("X")) == (tmp_path / "x", tmp_path / "X")
    assert _below(tmp_path) == []


def test_a_blob_named_like_a_folder_of_others(server: BlobServer, engine: Engine, tmp_path: Path):
    """`a` and `a/b` cannot both be files: an error that says so."""
    server.seed("clash", "a", 1, b"1")
    server.seed("clash", "a/b", 1, b"2")
    with pytest.raises(StorageError, match="cannot be written"):
        blob.copy("az://clash", tmp_path, recursive=True).run()
    assert [path.name for path in tmp_path.rglob("*") if path.name.endswith(".part")] == []
    engine.delete_container("clash")


def test_a_file_where_a_folder_is_needed(server: BlobServer, tmp_path: Path):
    """The local file that is in the way is named, and stays."""
    server.seed("data", "small/{}", 2, b"small")
    (tmp_path / "small").write_text("mine")
    with pytest.raises(StorageError, match=r"small is a file, and a folder is needed there.*remove what is in the way"):
        blob.copy("az://data/small", tmp_path / "small", recursive=True).run()
    assert (tmp_path / "small").read_text() == "mine"
