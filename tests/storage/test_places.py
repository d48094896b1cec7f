"""Where a copy and a sync go, and what they refuse: folders, signatures, places inside of each other, links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from azray_lab import blob
from azray_lab.errors import BlobNotFoundError, StorageError, UsageError
from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.copying import run_copy
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.engine.landing import Landing
from azray_lab.storage.routes import Route
from azray_lab.testing.blob_server import BlobServer, run_blob_server


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """A Blob service."""
    with run_blob_server() as running:
        yield running


@pytest.fixture(autouse=True)
def engine(server: BlobServer, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The environment points at the server, whose container `data` has a few blobs in the folder `w` and no others."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    found = engine_for(BlobUri.parse("az://data"))
    found.delete_container("data")
    for name in ("top.csv", "a/x.csv", "b/x.csv"):
        server.seed("data", f"w/{name}", 1, name.encode())
    server.faults()
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of this name, with one line."""
    path = tmp_path / "f.txt"
    path.write_text("f\n")
    return path


def _names(engine: Engine, prefix: str = "") -> list[str]:
    return [entry.name for entry in engine.list("data", prefix)]


def test_a_folder_of_blobs_takes_a_file_under_its_own_name(server: BlobServer, engine: Engine, file: Path):
    """As a local folder does, for one request more; a blob that is there is overwritten."""
    server.faults()
    assert blob.planned_copy(file, "az://data/w").to_dict()[0]["target"] == "az://data/w/f.txt"
    blob.copy(file, "az://data/w").run()
    assert _names(engine, "w/f") == ["w/f.txt"]
    blob.copy("az://data/w/top.csv", "az://data/w/a").run()
    assert _names(engine, "w/a") == ["w/a/top.csv", "w/a/x.csv"]
    server.faults()
    blob.copy(file, "az://data/new").run()
    assert server.counts()["GET list"] == 1
    blob.copy(file, "az://data/new").run()
    assert engine.get_bytes("data", "new") == b"f\n"


def test_an_exact_destination_is_the_name(engine: Engine, file: Path, tmp_path: Path):
    """A blob beside the folder of its name, which the next copy overwrites; a local folder is an error."""
    blob.copy(file, "az://data/w", exact=True).run()
    assert engine.get_bytes("data", "w") == b"f\n"
    file.write_text("again")
    blob.copy(file, "az://data/w").run()
    assert engine.get_bytes("data", "w") == b"again"
    with pytest.raises(UsageError, match="no regular file"):
        blob.copy("az://data/w/top.csv", tmp_path, exact=True).run()


def test_a_slash_before_a_signature(server: BlobServer, engine: Engine, file: Path):
    """The path of an address says what is a folder, not the end of the text."""
    for destination in (f"{server.endpoint}/data/dir/?sv=1&sig=s3cret", BlobUri.parse("az://data/value/")):
        blob.copy(file, destination).run()
    assert _names(engine, "dir") + _names(engine, "value") == ["dir/f.txt", "value/f.txt"]


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [("az://data", "az://data/sub", "lies in az://data: what is copied would be copied again"),
     ("az://data/w", "az://data/w/a/copy/", "lies in az://data/w"), ("az://data/w/", "az://data/w", "onto itself")],
)  # fmt: skip
def test_nothing_is_copied_into_itself(engine: Engine, source: str, destination: str, words: str):
    """By copy or sync, however the account is written; a place beside it is another one."""
    before = _names(engine)
    own = BlobUri.parse(destination)
    for target in (destination, BlobUri(own.container, own.path, engine.account.endpoint)):
        for ask in (blob.copy(source, target, recursive=True), blob.sync(source, target, delete=True)):
            with pytest.raises(UsageError, match=words):
                ask.run()
    assert _names(engine) == before
    assert blob.copy("az://data/w", "az://data/w-not", recursive=True).run().files == 3


def test_a_sync_does_not_remove_its_source(engine: Engine):
    """What lies in the destination would be removed there by `delete`."""
    with pytest.raises(UsageError, match="--delete would remove it"):
        blob.sync("az://data/w/a", "az://data/w", delete=True).run()
    assert _names(engine) == ["w/a/x.csv", "w/b/x.csv", "w/top.csv"]
    assert blob.sync("az://data/w/a", "az://data/w").run().copied == 1


def test_a_sync_takes_folders(file: Path, tmp_path: Path):
    """A blob or a file at either end is named as what it is, with the command that copies it."""
    for source, destination, words in (
        ("az://data/w/top.csv", tmp_path / "o", r"az://data/w/top\.csv is a blob"),
        (file, "az://data/q", r"f\.txt is a file"),
        ("az://data/w", file, r"f\.txt is a file"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            blob.sync(source, destination).run()
        assert caught.value.next_step == f"azray blob cp {source} {destination}"
    for absent in ("az://data/none", tmp_path / "none"):
        with pytest.raises((BlobNotFoundError, UsageError), match="there is no"):
            blob.sync(absent, tmp_path if absent == "az://data/none" else "az://data/q").run()


def test_a_sync_removes_nothing_that_it_did_not_look_at(engine: Engine, tmp_path: Path):
    """Below a link to a folder, and for a broken link, the blobs stay; a note says that something was left out."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "in").write_text("1")
    folder = tmp_path / "s"
    (folder / "deep").mkdir(parents=True)
    (folder / "x").write_text("x")
    (folder / "deep" / "linked").symlink_to(tmp_path / "real")
    (folder / "broken").symlink_to(tmp_path / "none")
    for name in ("deep/linked/in", "deep/linked/er/in", "broken", "gone", "deep/linked-not"):
        engine.put("data", f"s/{name}", b"1")
    planned = blob.planned_sync(folder, "az://data/s", delete=True).to_dict()
    assert [row["target"] for row in planned if row["action"] == "remove"] == [
        "az://data/s/deep/linked-not", "az://data/s/gone"
    ]  # fmt: skip
    for removed in (2, 0):
        task = blob.sync(folder, "az://data/s", delete=True)
        assert task.run().removed == removed
        assert [event.data["left_out"] for event in task.operation.events if event.kind == "note"] == [2]
    assert _names(engine, "s/") == ["s/broken", "s/deep/linked/er/in", "s/deep/linked/in", "s/x"]


def test_what_is_left_out_of_many_files_is_told(tmp_path: Path):
    """Also of more files than are kept between counting and copying, and once."""
    for number in range(5):
        (tmp_path / f"{number}").write_text("x")
    (tmp_path / "broken").symlink_to(tmp_path / "none")
    operation: Operation[object] = Operation("copy")
    route = Route.parse(tmp_path, "az://data/many", recursive=True)
    operation.run(lambda running: run_copy(route, running, kept=2))
    assert [event.data["left_out"] for event in operation.events if event.kind == "note"] == [1]


@pytest.mark.parametrize(
    ("uri", "words"),
    [("az://data", "az://data is no blob: it is a container"), ("az://", "it is a storage account"),
     ("az://data/w", "it is a folder"), ("az://data/w/", "it is a folder")],
)  # fmt: skip
def test_only_blobs_are_read(uri: str, words: str):
    """A container or a folder is named as what it is, with the command that shows what is in it."""
    for ask in (blob.read, lambda text: next(blob.parts(text))):
        with pytest.raises(UsageError, match=words) as caught:
            ask(uri)
        assert caught.value.next_step == f"azray blob ls {uri}"
    with pytest.raises(BlobNotFoundError):
        blob.read("az://data/w/none")


def test_an_address_needs_no_credential(monkeypatch: pytest.MonkeyPatch):
    """It is written down, without a request and without a token, for every spelling that names its account."""
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_AUTH_MODE", "service_principal")
    for spelling in (
        "abfss://data@acct.dfs.core.windows.net/a b",
        "https://acct.blob.core.windows.net/data/a%20b?sig=x",
    ):
        assert blob.url(spelling) == "https://acct.blob.core.windows.net/data/a%20b"


def test_a_file_that_is_called_like_a_signature(engine: Engine, tmp_path: Path):
    """`?sig=` in a file's name is part of the name, and of the blob's; it is listed and comes back."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a?sig=2").write_text("1")
    assert blob.copy(tmp_path / "odd", "az://data/odd", recursive=True).run().files == 1
    assert _names(engine, "odd") == ["odd/a?sig=2"]
    assert "a?sig=2" in str(blob.list_blobs("az://data/odd"))
    assert blob.sync("az://data/odd", tmp_path / "back").run().copied == 1
    assert (tmp_path / "back" / "a?sig=2").read_text() == "1"


def test_a_name_that_the_service_would_change_is_refused(engine: Engine, tmp_path: Path):
    """It takes a backslash for a slash, so that another tree would be there: told before anything is sent."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a").write_text("1")
    (tmp_path / "odd" / "back\\s").write_text("1")
    for ask in (
        blob.copy(tmp_path / "odd", "az://data/odd", recursive=True),
        blob.sync(tmp_path / "odd", "az://data/odd"),
    ):
        with pytest.raises(UsageError, match=r"back\\s cannot be the blob .*: the service takes a backslash"):
            ask.run()
    assert _names(engine, "odd") == []


def test_what_a_killed_copy_has_left_is_not_sent(engine: Engine, tmp_path: Path):
    """A file that `Landing` had begun, as it lies there after a kill, is left out and told."""
    landing = Landing(tmp_path / "big")
    landing.begin(1)
    task = blob.sync(tmp_path, "az://data/killed")
    assert task.run().copied == 0
    assert [event.data["left_out"] for event in task.operation.events if event.kind == "note"] == [1]
    assert _names(engine, "killed") == []
    landing.discard()


@pytest.mark.parametrize("file_where_a_folder_is_needed", [True, False])
def test_what_is_in_the_way_is_told(file_where_a_folder_is_needed: bool, tmp_path: Path):
    """A local file where blobs need a folder, and a folder where a blob needs a file."""
    if file_where_a_folder_is_needed:
        (tmp_path / "a").write_text("1")
    else:
        (tmp_path / "top.csv").mkdir()
    with pytest.raises((StorageError, UsageError)) as caught:
        blob.copy("az://data/w", tmp_path, recursive=True).run()
    wanted = "remove what is in the way" if file_where_a_folder_is_needed else "name another destination"
    assert wanted in caught.value.next_step
