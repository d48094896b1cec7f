"""Listing and copying on a real Blob service: names, folders, progress, and nothing half done after any fault."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azray_lab import blob
from azray_lab.blob import CopyResult, copy, list_blobs
from azray_lab.errors import (
    AzRayError,
    BlobNotFoundError,
    CancelledError,
    CredentialError,
    StorageError,
    UsageError,
)
from azray_lab.testing.azurite import Azurite, run_azurite

if TYPE_CHECKING:
    from azray_lab.operation import Event, Task

pytestmark = pytest.mark.azurite

# More parts of 4 MiB than are in flight at once, so that something is still to be done after the first one.
_LARGE = 80 * 2**20 + 5
_NAMES = ("plain", "a b.txt", "100%25?x#y.txt", "ünï/日本/ß.bin", "nested/deep/er/z")


@pytest.fixture(autouse=True)
def data(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment points at the module's server, which has the container `data`."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    return azurite.container("data")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of many parts, each of them different."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for offset in range(0, _LARGE, 2**20):
            file.seek(offset)
            file.write(offset.to_bytes(8, "big"))
        file.truncate(_LARGE)
    return path


def _names(uri: str, *, recursive: bool = True) -> list[str]:
    found = list_blobs(uri, recursive=recursive).to_dict()
    return sorted(entry["uri"].removeprefix("az://data/") for entry in found)


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _at_first_progress(task: Task[CopyResult], act: Callable[[], object]) -> Task[CopyResult]:
    """Makes `task` call `act` when its first part has arrived."""

    def listener(event: Event) -> None:
        if event.kind == "progress" and not told:
            told.append(event)
            act()

    told: list[Event] = []
    task.operation.subscribe(listener)
    return task


def test_a_tree_goes_there_and_comes_back(tmp_path: Path):
    """Spaces, percent signs, Unicode, folders and an empty file arrive as they were."""
    for name in (*_NAMES, "empty"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"" if name == "empty" else name.encode())
    up = copy(tmp_path / "out", "az://data/tree", recursive=True).run()
    assert _names("az://data/tree") == sorted(f"tree/{name}" for name in (*_NAMES, "empty"))
    down = copy("az://data/tree/", tmp_path / "back", recursive=True).run()
    assert up.files == down.files == len(_NAMES) + 1
    assert up.bytes == down.bytes == sum(len(name.encode()) for name in _NAMES)
    assert _below(tmp_path / "back") == _below(tmp_path / "out")
    for name in _NAMES:
        assert (tmp_path / "back" / name).read_bytes() == name.encode()


def test_a_large_file_reports_its_way(large: Path, tmp_path: Path):
    """Progress grows to the whole, with bytes, total, rate and the time left, in both directions."""
    for task in (
        copy(large, "az://data/large/"),
        copy("az://data/large/large.bin", tmp_path / "down" / "again.bin"),
    ):
        assert task.run().bytes == _LARGE
        told = [event for event in task.operation.events if event.kind == "progress"]
        fractions = [event.fraction or 0.0 for event in told]
        assert len(told) > 10
        assert fractions == sorted(fractions)
        assert (fractions[-1], told[-1].data["bytes"], told[-1].data["total"]) == (1.0, _LARGE, _LARGE)
        assert told[0].data["rate"] > 0
        assert told[-1].data["seconds_left"] == 0
        assert all("/s" in event.message for event in told)
    assert (tmp_path / "down" / "again.bin").read_bytes() == large.read_bytes()


def test_the_service_copies_within_an_account(azurite: Azurite, large: Path, tmp_path: Path):
    """Between two accounts (here: two servers) the bytes pass through, and the blob is the same."""
    copy(large, "az://data/copied/one").run()
    assert copy("az://data/copied/one", "az://data/copied/two").run().bytes == _LARGE
    assert blob.read("az://data/copied/two") == large.read_bytes()
    del azurite, tmp_path


def test_where_a_single_file_goes(tmp_path: Path):
    """A folder, or a slash at the end, takes the file under its own name; anything else is the new name."""
    source = tmp_path / "x.json"
    source.write_text("{}")
    for destination in ("az://data", "az://data/one/", "az://data/one/named"):
        copy(source, destination).run()
    assert {"x.json", "one/x.json", "one/named"} <= set(_names("az://data"))
    for target in (tmp_path / "new" / "name", tmp_path, f"{tmp_path}/slash/"):
        copy("az://data/one/x.json", target).run()
    assert {"new/name", "x.json", "slash/x.json"} <= set(_below(tmp_path))


def test_a_listing_shows_folders_or_everything(tmp_path: Path):
    """Folders end with a slash; recursive shows blobs only; a blob shows itself; the account shows containers."""
    for name in ("a", "sub/b", "sub/c"):
        (tmp_path / "x").write_text(name)
        copy(tmp_path / "x", f"az://data/list/{name}").run()
    assert _names("az://data/list", recursive=False) == ["list/a", "list/sub/"]
    assert _names("az://data/list/") == ["list/a", "list/sub/b", "list/sub/c"]
    assert _names("az://data/list/a") == ["list/a"]
    assert {"type": "container"}.items() <= list_blobs("az://").to_dict()[0].items()
    assert "sub/" in str(list_blobs("az://data/list"))


def test_an_empty_container_is_empty_and_no_error(azurite: Azurite, tmp_path: Path):
    """Nothing to list is a table without rows, nothing to copy a result without files."""
    table = list_blobs(azurite.container("empty"))
    assert (table.to_dict(), str(table)) == ([], "az://empty is empty")
    assert copy("az://empty", tmp_path, recursive=True).run().files == 0


@pytest.mark.parametrize("uri", ["az://nowhere", "az://nowhere/x", "az://data/not-there", "az://data/not-there/"])
def test_what_is_not_there_is_named(uri: str, tmp_path: Path):
    """A missing container or blob: an error with the URI and the command that lists what is there."""
    for ask in (lambda: list_blobs(uri), lambda: copy(uri, tmp_path / "x", recursive=True).run()):
        with pytest.raises(BlobNotFoundError) as caught:
            ask()
        assert uri.startswith(str(caught.value.facts["uri"]).rstrip("/"))
        assert caught.value.next_step.startswith("azray blob ls az://")
    assert _below(tmp_path) == []


def test_a_folder_needs_recursive(tmp_path: Path):
    """Copying a folder without -r says how to, in both directions."""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").write_text("x")
    copy(tmp_path / "f", "az://data/folder", recursive=True).run()
    for source, destination in ((tmp_path / "f", "az://data/g"), ("az://data/folder", tmp_path / "g")):
        with pytest.raises(UsageError, match="-r"):
            copy(source, destination).run()


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [("x", "y", "neither"), ("az://", "y", "no container"), ("none", "az://data/x", "no file"),
     ("/dev/null", "az://data/x", "no regular file"), ("az://data/one.txt", "/dev/null", "no regular file")],
)  # fmt: skip
def test_what_cannot_be_copied_is_a_usage_error(source: str, destination: str, words: str, tmp_path: Path):
    """Two local paths, an account, a missing file, a device: told before anything is sent."""
    (tmp_path / "one.txt").write_text("1")
    copy(tmp_path / "one.txt", "az://data/").run()
    with pytest.raises(UsageError, match=words):
        copy(source, destination).run()
    assert Path("/dev/null").is_char_device()


def test_a_wrong_key_is_a_credential_error_without_the_key(azurite: Azurite):
    """The service's refusal names the variable and shows no secret."""
    wrong = azurite.connection_string.replace(azurite.key, "d3Jvbmcta2V5LXdyb25nLWtleQ==")
    with pytest.raises(CredentialError) as caught:
        list_blobs("az://data", environ={"AZURE_STORAGE_CONNECTION_STRING": wrong})
    assert caught.value.facts["status"] == 403
    assert caught.value.facts["request_id"]
    assert "AZURE_STORAGE_CONNECTION_STRING" in str(caught.value)
    assert "d3Jvbmc" not in f"{caught.value} {caught.value.to_dict()}"


@pytest.mark.slow
def test_an_endpoint_that_refuses_fails_after_few_tries(azurite: Azurite, tmp_path: Path):
    """Nobody listens there: a StorageError that names the endpoint, and no file."""
    with run_azurite() as gone:
        environ = gone.environment()
    assert gone.blob_endpoint != azurite.blob_endpoint
    for ask in (
        lambda: list_blobs("az://data", environ=environ),
        lambda: copy("az://data/x", tmp_path, environ=environ).run(),
    ):
        with pytest.raises(StorageError, match="does not answer") as caught:
            ask()
        assert caught.value.facts["endpoint"] == gone.blob_endpoint
    assert _below(tmp_path) == []


def test_without_a_connection_string_both_variables_are_named(monkeypatch: pytest.MonkeyPatch):
    """No variable at all: the error is the same for the verbs as for the file system."""
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with pytest.raises(CredentialError, match="AZURE_STORAGE_ACCOUNT_URL"):
        list_blobs("az://data")


def test_a_cancelled_upload_leaves_nothing(large: Path):
    """No blob appears, and a blob of that name stays as it was."""
    task = copy(large, "az://data/cancelled/new")
    with pytest.raises(CancelledError):
        _at_first_progress(task, task.operation.cancel).run()
    assert "cancelled/new" not in _names("az://data")
    assert task.operation.events[-1].data["error"]["facts"] == {"files": 0}


def test_a_file_that_shrinks_meanwhile_is_not_sent(large: Path):
    """The upload fails and no blob appears."""
    with pytest.raises(StorageError, match="changed while it was being read"):
        _at_first_progress(copy(large, "az://data/shrunk"), lambda: os.truncate(large, 1)).run()
    assert "shrunk" not in _names("az://data")


@pytest.mark.slow
@pytest.mark.parametrize("up", [True, False])
def test_a_server_that_dies_in_the_middle(up: bool, large: Path, tmp_path: Path):
    """The error says that it does not answer, and no half file is there."""
    with run_azurite() as server:
        server.container("data")
        environ = server.environment()
        copy(large, "az://data/there", environ=environ).run()
        ends = (large, "az://data/new") if up else ("az://data/there", tmp_path / "x")
        task = copy(*ends, environ=environ)
        with pytest.raises(AzRayError) as caught:
            _at_first_progress(task, lambda: os.kill(server.pid, signal.SIGKILL)).run()
    assert isinstance(caught.value, StorageError)
    assert _below(tmp_path) == ["large.bin"]


def test_a_local_disk_that_refuses_is_a_storage_error(tmp_path: Path):
    """What the operating system says becomes the cause."""
    (tmp_path / "x").write_text("x")
    copy(tmp_path / "x", "az://data/refused/x").run()
    with pytest.raises(StorageError, match="cannot be written") as caught:
        copy("az://data/refused", "/proc/azray/x", recursive=True).run()
    assert caught.value.facts["path"].startswith("/proc/azray")


def test_links_to_folders_are_left_out_and_told(tmp_path: Path):
    """A loop of links does not catch the walk; what is left out is a note."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "x").write_text("x")
    (folder / "loop").symlink_to(folder)
    (folder / "broken").symlink_to(tmp_path / "none")
    task = copy(folder, "az://data/links", recursive=True)
    assert task.run().files == 1
    assert [e.data["left_out"] for e in task.operation.events if e.kind == "note"] == [2]


def test_an_emulators_address_uses_the_environments_key(azurite: Azurite, tmp_path: Path):
    """A blob's own address and the short form show the same account."""
    (tmp_path / "one.txt").write_text("1")
    copy(tmp_path / "one.txt", "az://data/").run()
    (entry,) = list_blobs(f"{azurite.blob_endpoint}/data/one.txt").to_dict()
    assert entry["uri"] == f"{azurite.blob_endpoint}/data/one.txt"
