"""Checkpoints: uploaded while work goes on, there as a whole or not at all, the latest few, restored elsewhere."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import azray_lab
from azray_lab.errors import BlobNotFoundError, CredentialError, StorageError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.checkpoints import Checkpoints, checkpoints
from azray_lab.storage.filesystem import filesystem
from azray_lab.storage.sending import fetch_folder, send_folder
from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite
    from azray_lab.testing.blob_server import BlobServer

pytestmark = pytest.mark.azurite

_LARGE = 20 * 2**20 + 3


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """A server whose answers can be held back."""
    with run_blob_server() as running:
        running.seed("models")
        yield running


@pytest.fixture
def place(azurite: Azurite, request: pytest.FixtureRequest) -> Checkpoints:
    """An empty place on Azurite."""
    azurite.container("models")
    return checkpoints(f"az://models/{request.node.name}", environ=azurite.environment(), keep=2)


def _write(folder: Path, text: str, *, large: bool = False) -> None:
    (folder / "model.bin").write_text(text)
    (folder / "optimizer").mkdir()
    (folder / "optimizer" / "state ü.bin").write_bytes(os.urandom(_LARGE) if large else b"")


def _save(place: Checkpoints, name: str, *, large: bool = False) -> None:
    with place.saving(name, step=name) as folder:
        _write(folder, name, large=large)
    place.wait()


def _blobs(place: Checkpoints) -> list[str]:
    found: list[str] = place._files.find(place.path)
    return found


def test_what_is_saved_is_restored_on_another_node(place: Checkpoints, tmp_path: Path):
    """Small, empty and large files, folders, odd names; by another process's object, as after a pickle."""
    kept = tmp_path / "kept"
    kept.mkdir()
    _write(kept, "weights", large=True)
    place.save(kept, "epoch-1", loss=0.5)
    place.wait()
    elsewhere: Checkpoints = pickle.loads(pickle.dumps(place))  # noqa: S301 - made a moment ago
    saved = elsewhere.restore(tmp_path / "node" / "back")
    assert saved is not None
    assert (saved.name, saved.facts, saved.size) == ("epoch-1", {"loss": 0.5}, _LARGE + len("weights"))
    for name in saved.files:
        assert (tmp_path / "node" / "back" / name).read_bytes() == (kept / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "node").iterdir()) == ["back"]


def test_the_latest_are_kept(place: Checkpoints, tmp_path: Path):
    """Older ones go, with their files, and a name saved again replaces the first."""
    for name in ("a", "b", "c", "b"):
        _save(place, name)
    assert [(one.name, one.number) for one in place.list()] == [("c", 3), ("b", 4)]
    latest = place.latest()
    assert latest is not None
    assert latest.facts == {"step": "b"}
    folders = {blob.removeprefix(place.path).split("/")[1] for blob in _blobs(place)}
    assert folders == {"_complete", "_started", *(one.folder for one in place.list())}
    assert place.restore(tmp_path / "none", "a") is None
    assert place.restore(tmp_path / "c", "c") is not None


def test_training_goes_on_while_it_is_uploaded(server: BlobServer, tmp_path: Path):
    """The block ends before the upload does; until the end nobody sees the new one; the next one waits."""
    place = checkpoints("az://models/background", environ=server.environment(), scratch=tmp_path)
    _save(place, "first")
    server.faults({"method": "PUT", "path": "background/second", "status": 503, "code": "ServerBusy"})
    with place.saving("second") as folder:
        _write(folder, "second")
    latest = place.latest()
    assert latest is not None
    assert latest.name == "first"
    assert place._background.busy
    server.faults()
    with place.saving("third") as folder:
        _write(folder, "third")
    third = place.wait()
    assert third is not None
    assert [one.name for one in place.list()] == ["first", "second", "third"]
    assert list(tmp_path.iterdir()) == []


_UPLOADER = """
import sys
from azray_lab.storage.checkpoints import checkpoints
place = checkpoints("az://models/killed", scratch=sys.argv[1])
with place.saving("second") as folder:
    for number in range(20):
        (folder / f"part-{number}").write_bytes(b"x" * 1000)
    (folder / "stuck.bin").write_bytes(b"y" * 1000)
place.wait()
"""


def test_a_killed_uploader_leaves_nothing_that_is_read(
    server: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Kill -9 in the middle: readers have the one before; the next save works, and later removes the rest."""
    place = checkpoints("az://models/killed", environ=server.environment(), keep=1)
    _save(place, "first")
    server.faults({"method": "PUT", "path": "stuck.bin", "stall": 60.0})
    environ = {**os.environ, **server.environment()}
    uploader = subprocess.Popen([sys.executable, "-c", _UPLOADER, str(tmp_path)], env=environ)
    try:
        _until(lambda: sum("killed/second" in blob for blob in _blobs(place)) == 21)
        assert sum("_started/second" in blob for blob in _blobs(place)) == 1
    finally:
        uploader.send_signal(signal.SIGKILL)
        uploader.wait(30)
    server.faults()
    assert [one.name for one in place.list()] == ["first"]
    restored = place.restore(tmp_path / "back")
    assert restored is not None
    assert restored.name == "first"
    _save(place, "third")  # what was written a moment ago may be somebody's who is still at it
    assert sum("killed/second" in blob for blob in _blobs(place)) == 21
    monkeypatch.setattr("azray_lab.storage.checkpoints.shelf._LEFTOVER", timedelta(0))
    _save(place, "fourth")
    assert {blob.split("/")[2].partition("-")[0] for blob in _blobs(place)} == {"_complete", "_started", "fourth"}
    assert {blob.rpartition("/")[2].partition("-")[0] for blob in _blobs(place) if "_started" in blob} == {"fourth"}


def test_a_folder_that_is_sent_together(server: BlobServer, tmp_path: Path):
    """No file of it is seen while one is missing; then all; large, small and empty ones come as they were."""
    engine = filesystem("az://models", environ=server.environment()).engine("models")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    _write(folder, "weights", large=True)
    (folder / "empty").write_bytes(b"")
    server.faults({"method": "PUT", "path": "model.bin?comp=block&", "status": 403, "code": "AuthorizationFailure"})
    with pytest.raises(CredentialError):
        send_folder(engine, "models", "together/", folder, together=True)
    assert "PUT blocklist" not in server.counts()
    assert list(engine.list("models", "together/")) == []
    server.faults({"method": "PUT", "path": "model.bin?comp=blocklist", "status": 403, "code": "AuthorizationFailure"})
    with pytest.raises(CredentialError):
        send_folder(engine, "models", "together/", folder, together=True)
    assert list(engine.list("models", "together/")) == []
    server.faults()
    files = send_folder(engine, "models", "together/", folder, together=True)
    counts = server.counts()
    assert (counts["PUT block"], counts["PUT blocklist"], counts.get("PUT")) == (4, 3, None)
    fetch_folder(engine, "models", "together/", files, tmp_path / "back")
    for name in ("model.bin", "empty", "optimizer/state ü.bin"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()


def test_strangers_files_beside_them_stay(place: Checkpoints, monkeypatch: pytest.MonkeyPatch):
    """However old: only what a save named before it began is removed, also when it is called like a checkpoint."""
    strangers = [f"{place.path}/data-0a1b2c/train.csv", f"{place.path}/notes/x", f"{place.path}/readme"]
    for blob in strangers:
        place._files.pipe_file(blob, b"theirs")
    monkeypatch.setattr("azray_lab.storage.checkpoints.shelf._LEFTOVER", timedelta(0))
    for name in ("a", "b", "c"):
        _save(place, name)
    assert [one.name for one in place.list()] == ["b", "c"]
    assert set(strangers) <= set(_blobs(place))


def _until(check: object) -> None:
    deadline = time.monotonic() + 60
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited 60 s"
        time.sleep(0.02)


def test_a_failed_upload_is_told_by_the_next_save(server: BlobServer, tmp_path: Path):
    """The error is not lost in its thread, nothing of it is seen, and the next one is uploaded all the same."""
    place = checkpoints("az://models/failing", environ=server.environment(), scratch=tmp_path)
    server.faults({"method": "PUT", "path": "model.bin", "status": 403, "code": "AuthorizationFailure"})
    with place.saving("bad", step=7) as folder:
        _write(folder, "bad")
    with pytest.raises(azray_lab.AzRayError, match="AuthorizationFailure") as caught, place.saving("next") as folder:
        (folder / "other.bin").write_text("next")
    place.wait()
    assert [one.name for one in place.list()] == ["next"]
    # Its files are where the error says, and go into Blob as it says.
    kept = caught.value.facts["folder"]
    assert f"azray_lab.checkpoints('az://models/failing').save('{kept}', 'bad')" in caught.value.next_step
    assert (Path(kept) / "model.bin").read_text() == "bad"
    server.faults()
    place.save(kept, "bad", again=True)
    place.wait()
    assert [(one.name, one.facts) for one in place.list()] == [("next", {}), ("bad", {"step": 7, "again": True})]
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_it_is_written_drops_it(place: Checkpoints):
    """What training did not finish is not uploaded."""

    def fail() -> None:
        with place.saving("half") as folder:
            _write(folder, "half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert place.wait() is None
    assert _blobs(place) == []


def test_a_checkpoint_that_was_tampered_with_is_not_restored(place: Checkpoints, tmp_path: Path):
    """A file that was overwritten, or is gone, or a description that is none: an error, and no folder."""
    _save(place, "one")
    saved = place.latest()
    assert saved is not None
    blob = f"{place.path}/{saved.folder}/model.bin"
    place._files.pipe_file(blob, b"two")
    with pytest.raises(StorageError, match="not what was saved"):
        place.restore(tmp_path / "back")
    place._files.rm(blob)
    with pytest.raises(BlobNotFoundError):
        place.restore(tmp_path / "back")
    place._files.pipe_file(f"{place.path}/_complete/00000009-x.json", b"{}")
    with pytest.raises(StorageError, match="does not describe a checkpoint"):
        place.restore(tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_a_trials_checkpoints_are_its_own(place: Checkpoints):
    """Children do not see each other, and pruning one leaves the others."""
    for trial in ("trial-1", "trial-2"):
        child = place.child(trial)
        for name in ("a", "b", "c"):
            _save(child, name)
    _save(place, "own")
    assert [one.name for one in place.child("trial-1").list()] == ["b", "c"]
    assert [one.name for one in place.child("trial-2").list()] == ["b", "c"]


def test_restoring_races_with_pruning(place: Checkpoints, tmp_path: Path):
    """A reader gets a complete one while a writer saves and removes."""
    _save(place, "0")
    stop = threading.Event()

    def write() -> None:
        for number in range(1, 200):
            if stop.is_set():
                return
            _save(place, str(number))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(8):
            reader: Checkpoints = pickle.loads(pickle.dumps(place))  # noqa: S301 - made a moment ago
            saved = reader.restore(tmp_path / str(number))
            assert saved is not None
            assert (tmp_path / str(number) / "model.bin").read_text() == saved.name
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("name", ["", "a/b", "_complete", ".hidden"])
def test_names_that_would_mix_with_ours(place: Checkpoints, name: str):
    """Told before anything is written."""
    with pytest.raises(UsageError, match="no name for a checkpoint"), place.saving(name):
        pass


def test_where_they_are(azurite: Azurite, tmp_path: Path):
    """The container may come from the environment; without one there is no place; a folder that is there is kept."""
    environ = {**azurite.environment(), "AZURE_STORAGE_CONTAINER": "models"}
    assert checkpoints(environ=environ).path == "models"
    with pytest.raises(UsageError, match="need a container"):
        checkpoints(environ=azurite.environment())
    with pytest.raises(UsageError, match="keep=0"):
        checkpoints(BlobUri.parse("az://models/x"), environ=environ, keep=0)
    with pytest.raises(UsageError, match="is there already"):
        checkpoints(environ=environ).restore(tmp_path)
