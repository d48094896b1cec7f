"""No checkpoint is lost in silence: wrong places, services that are away, programs that end or are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import azray_lab
from azray_lab.errors import BlobNotFoundError, CredentialError, StorageError, UsageError
from azray_lab.storage.checkpoints.background import persistently
from azray_lab.storage.filesystem import filesystem
from azray_lab.storage.sending import _Hidden, send_file, send_folder
from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from azray_lab.storage.checkpoints import Checkpoints
    from azray_lab.testing.azurite import Azurite
    from azray_lab.testing.blob_server import BlobServer

_REFUSED = {"method": "PUT", "path": "model.bin", "status": 403, "code": "AuthorizationFailure"}


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """A server that can be made to refuse."""
    with run_blob_server() as running:
        running.seed("models")
        yield running


@pytest.fixture(autouse=True)
def _well(server: BlobServer) -> None:
    server.faults()


def _python(code: str, server: BlobServer, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own, at whose end nothing may have gone wrong but what it says."""
    environ = {**os.environ, **server.environment()}
    command = [sys.executable, "-c", "import sys, azray_lab\n" + code, *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


# Places and facts.


@pytest.mark.azurite
def test_a_wrong_place_is_told_before_the_training(azurite: Azurite, server: BlobServer, tmp_path: Path):
    """A container that is not there, and one that may only be read: the block is not even begun, nothing is left."""
    missing = azray_lab.checkpoints("az://no-such-container/a", environ=azurite.environment(), scratch=tmp_path)
    with pytest.raises(BlobNotFoundError, match="no container"), missing.saving("x"):
        pytest.fail("the block was entered")
    server.faults({"method": "PUT", "status": 403, "code": "AuthorizationPermissionMismatch"})
    place = azray_lab.checkpoints("az://models/place", environ=server.environment(), scratch=tmp_path)
    with pytest.raises(CredentialError, match="AuthorizationPermissionMismatch"), place.saving("x"):
        pytest.fail("the block was entered")
    server.faults()
    for name in ("x", "y"):
        with place.saving(name):
            pass
    place.wait()
    # One to look, and for each the note, the empty checkpoint's mark: no look before the second.
    assert server.counts()["PUT"] == 5
    assert list(tmp_path.iterdir()) == []


def test_a_save_costs_the_same_however_many_there_are(server: BlobServer, tmp_path: Path):
    """It reads their names, and none of them."""
    place = azray_lab.checkpoints("az://models/many", environ=server.environment(), scratch=tmp_path, keep=None)
    counted = []
    for name in "abcd":
        server.faults()
        place.save(_folder(tmp_path / name), name)
        place.wait()
        counted.append(server.counts())
    assert counted[1] == counted[2] == counted[3]
    assert "GET" not in counted[3]
    assert [one.name for one in place.list()] == list("abcd")


def test_facts_are_plain_numbers(server: BlobServer, tmp_path: Path):
    """NumPy's become Python's, also inside others, and such as are known in the end only; NaN stays."""
    place = azray_lab.checkpoints("az://models/facts", environ=server.environment(), scratch=tmp_path)
    history: list[Any] = []
    with place.saving("a", loss=np.float32(0.5), step=np.int64(7), best=np.bool_(True), history=history, at=(1, 2)):
        history.append({"loss": np.array(2.0)})
    history.append("later")
    saved = place.wait()
    assert saved is not None
    assert saved.facts == {"loss": 0.5, "step": 7, "best": True, "history": [{"loss": 2.0}], "at": [1, 2]}
    assert place.list() == [saved]
    with place.saving("b", loss=float("nan")):
        pass
    place.wait()
    assert str(place.list()[-1].facts["loss"]) == "nan"


@pytest.mark.parametrize("fact", [np.zeros(2), object(), {"a": {1}}, {("a", "b"): 1}, np.datetime64("2026-01-01")])
def test_facts_that_are_none(server: BlobServer, tmp_path: Path, fact: object):
    """Told before the block, in one line with the fact's name, and nothing is sent."""
    place = azray_lab.checkpoints("az://models/none", environ=server.environment(), scratch=tmp_path)
    with pytest.raises(UsageError, match=r"loss= cannot be kept.*JSON.*loss=float"), place.saving("a", loss=fact):
        pytest.fail("the block was entered")
    filled: list[Any] = []
    with pytest.raises(UsageError, match="history= cannot be kept"), place.saving("b", history=filled):
        filled.append(fact)
    assert filesystem("az://models", environ=server.environment()).find("models/none") == []
    assert list(tmp_path.iterdir()) == []


def test_what_it_is_says_where_and_no_secret(server: BlobServer):
    """In a notebook's cell, for instance."""
    place = azray_lab.checkpoints(f"{server.endpoint}/models/a b?sv=1&sig=s3cret", keep=2)
    assert repr(place) == f"<checkpoints at {server.endpoint}/models/a%20b, keep=2>"
    assert repr(azray_lab.checkpoints("az://models", environ=server.environment()).child("t")) == (
        "<checkpoints at az://models/t, keep=3>"
    )


# Uploads that fail.


def test_the_end_of_a_block_waits_and_raises(server: BlobServer, tmp_path: Path):
    """`with checkpoints(...)` ends when all is in Blob; an error of the block's own is not replaced by another."""
    with azray_lab.checkpoints("az://models/block", environ=server.environment(), scratch=tmp_path) as place:
        place.save(_folder(tmp_path / "a"), "a")
    assert [one.name for one in place.list()] == ["a"]

    def save(place: Checkpoints, name: str) -> None:
        with place:
            place.save(tmp_path / "a", name)
            if name == "c":
                raise KeyError(name)

    server.faults(_REFUSED)
    with pytest.raises(CredentialError, match="the checkpoint 'b' was not uploaded; its files are in"):
        save(place, "b")
    with pytest.raises(KeyError):
        save(place, "c")
    with pytest.raises(CredentialError, match="the checkpoint 'c' was not uploaded"):
        place.wait()


def test_restoring_waits_for_what_is_saved(server: BlobServer, tmp_path: Path):
    """So that it is the latest one; and raises what went wrong with it."""
    place = azray_lab.checkpoints("az://models/both", environ=server.environment(), scratch=tmp_path)
    with place.saving("a") as folder:
        (folder / "model.bin").write_text("a")
    found = place.restore(tmp_path / "back")
    assert found is not None
    assert (tmp_path / "back" / "model.bin").read_text() == "a"
    server.faults(_REFUSED)
    with place.saving("b") as folder:
        (folder / "model.bin").write_text("b")
    with pytest.raises(CredentialError, match="'b' was not uploaded"):
        place.restore(tmp_path / "again")
    assert place.restore(tmp_path / "again") == found


@pytest.mark.slow
def test_the_end_of_a_program_tells_what_failed(server: BlobServer, tmp_path: Path):
    """Who never asks hears of it on stderr, with the place of the files; who has asked does not hear it twice."""
    server.faults(_REFUSED)
    code = """
place = azray_lab.checkpoints("az://models/end", scratch=sys.argv[1])
with place.saving("last") as folder:
    (folder / "model.bin").write_text("last")
if len(sys.argv) > 2:
    try:
        place.wait()
    except azray_lab.AzRayError:
        pass
"""
    ended = _python(code, server, tmp_path)
    (left,) = tmp_path.glob("*/files")
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"azray_lab: the checkpoint 'last' was not uploaded; its files are in {left}: ")
    assert f"azray_lab.checkpoints('az://models/end').save('{left}', 'last')" in ended.stderr
    assert (left / "model.bin").read_text() == "last"
    (tmp_path / "other").mkdir()
    assert _python(code, server, tmp_path / "other", "ask").stderr == ""


class _Pipe(socketserver.BaseRequestHandler):
    """Passes one connection on."""

    def handle(self) -> None:
        """Until one of the two ends it."""
        with socket.create_connection(self.server.target) as other:  # type: ignore[attr-defined]  # set below
            self.server.connections += [self.request, other]  # type: ignore[attr-defined]  # the same
            back = threading.Thread(target=_pump, args=(other, self.request))
            back.start()
            _pump(self.request, other)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _door(target: tuple[str, int], port: int = 0) -> Iterator[int]:
    """A way to the server `target`, on a port that refuses when the block is over."""

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with Server(("127.0.0.1", port), _Pipe, bind_and_activate=True) as server:
        server.target, server.connections = target, []  # type: ignore[attr-defined]  # for the handlers
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
            for each in server.connections:  # type: ignore[attr-defined]  # the same
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def test_a_service_that_is_away_for_a_while_costs_no_checkpoint(server: BlobServer, tmp_path: Path):
    """Refused connections, longer than the engine's own tries: it is tried again, and comes as it was."""
    own = urlsplit(server.endpoint)
    target = ("127.0.0.1", own.port or 0)
    with _door(target) as port:
        environ = {name: value.replace(f":{target[1]}", f":{port}") for name, value in server.environment().items()}
        place = azray_lab.checkpoints("az://models/away", environ=environ, scratch=tmp_path)
        place.save(_folder(tmp_path / "a"), "a")
        place.wait()
    with place.saving("b") as folder:
        (folder / "model.bin").write_text("b")
    # The first try has failed when the engine alone would have given up.
    with pytest.raises(StorageError, match="does not answer"):
        place.list()
    assert place._background.busy
    with _door(target, port):
        place.wait()
        assert [one.name for one in place.list()] == ["a", "b"]


def test_what_is_tried_again():
    """What passes, until it works or time is up; what does not pass is raised at once."""
    tries: list[int] = []

    def work(fails: int, **facts: Any) -> int:
        tries.append(len(tries))
        if len(tries) <= fails:
            raise StorageError("x", **facts)
        return len(tries)

    assert persistently(lambda: work(3, status=503), pause=0.001) == 4
    tries.clear()
    with pytest.raises(StorageError):
        persistently(lambda: work(3, status=409), pause=0.001)
    assert len(tries) == 1
    with pytest.raises(StorageError):
        persistently(lambda: work(99, host="h"), pause=0.001, seconds=0.0)
    assert len(tries) == 2


# Processes that are killed.

_KILLED = """
import os
place = azray_lab.checkpoints("az://models/killed", scratch=sys.argv[1]).child("trial")
with place.saving("whole", step=3) as folder:
    (folder / "model.bin").write_text("whole")
with place.saving("half") as folder:
    (folder / "model.bin").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_leaves_is_told_or_removed(server: BlobServer, tmp_path: Path):
    """The half one goes; the whole one is told once with what brings it into Blob, which then works, facts and all."""
    server.faults({**_REFUSED, "status": 503, "code": "ServerBusy"})
    assert _python(_KILLED, server, tmp_path).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    server.faults()
    with warnings.catch_warnings():  # of another place: nothing is said
        warnings.simplefilter("error")
        azray_lab.checkpoints("az://models/kill", environ=server.environment(), scratch=tmp_path)
    with pytest.warns(RuntimeWarning, match="'whole' of az://models/killed/trial was not uploaded;") as told:
        place = azray_lab.checkpoints("az://models/killed", environ=server.environment(), scratch=tmp_path)
    assert [Path(one.filename).name for one in told] == [Path(__file__).name]
    (left,) = tmp_path.glob("*/files")
    assert f"azray_lab.checkpoints('az://models/killed/trial').save('{left}', 'whole')" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        azray_lab.checkpoints("az://models/killed", environ=server.environment(), scratch=tmp_path)
    child = place.child("trial")
    child.save(left, "whole")
    saved = child.restore(tmp_path / "back")
    assert saved is not None
    assert (saved.name, saved.facts) == ("whole", {"step": 3})
    assert (tmp_path / "back" / "model.bin").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


@pytest.mark.slow
def test_only_what_nobody_wants_is_swept(server: BlobServer, tmp_path: Path):
    """Never what a living process is at, nor what is not ours; a week-old one with a warning; uploaded ones without."""
    (tmp_path / "azray-checkpoint-mine").mkdir()
    (tmp_path / "azray-checkpoint-mine" / "notes").write_text("mine")
    code = "azray_lab.checkpoints('az://models/sweep', scratch=sys.argv[1])"
    place = azray_lab.checkpoints("az://models/sweep", environ=server.environment(), scratch=tmp_path)
    with place.saving("busy") as folder:
        assert _python(code, server, tmp_path).stderr == ""
        with pytest.raises(UsageError, match="in use"):
            place.save(folder, "stolen")
        (folder / "model.bin").write_text("busy")
        server.faults(_REFUSED)
    with pytest.raises(CredentialError):
        place.wait()
    (note,) = tmp_path.glob("*/about.json")
    about = json.loads(note.read_text())
    for state, days, said in (("ready", 6, "was not uploaded"), ("ready", 8, "was removed after a week")):
        note.write_text(json.dumps({**about, "state": state, "at": time.time() - days * 24 * 3600}))
        assert said in _python(code, server, tmp_path).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["azray-checkpoint-mine"]
    assert (tmp_path / "azray-checkpoint-mine" / "notes").read_text() == "mine"


def test_one_that_was_uploaded_is_swept_in_silence(server: BlobServer, tmp_path: Path):
    """Killed between the upload's end and the removal of the folder."""
    place = azray_lab.checkpoints("az://models/done", environ=server.environment(), scratch=tmp_path)
    server.faults(_REFUSED)
    place.save(_folder(tmp_path / "a"), "a")
    with pytest.raises(CredentialError) as caught:
        place.wait()
    note = Path(caught.value.facts["folder"]).parent / "about.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "state": "done"}))
    azray_lab.checkpoints("az://models", environ=server.environment(), scratch=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# What is in a checkpoint.


def test_links_and_empty_folders(server: BlobServer, tmp_path: Path):
    """Links become what they lead to, empty folders stay; what leads nowhere, or in a circle, is named by a warning."""
    source = _folder(tmp_path / "source")
    (source / "part").mkdir()
    (source / "part" / "x").write_text("x")
    (source / "empty" / "inner").mkdir(parents=True)
    (source / "latest").symlink_to("model.bin")
    (source / "best").symlink_to("part")
    (source / "nowhere").symlink_to("gone")
    (source / "part" / "up").symlink_to("..")
    place = azray_lab.checkpoints("az://models/links", environ=server.environment(), scratch=tmp_path)
    with pytest.warns(RuntimeWarning, match="best/up, nowhere, part/up of the checkpoint 'a' was not saved") as told:
        place.save(source, "a")
    with pytest.warns(RuntimeWarning, match="dangling of the checkpoint 'b' was not saved") as later:  # noqa: SIM117
        with place.saving("b") as own:
            (own / "dangling").symlink_to("gone")
    assert {one.filename for one in (*told, *later)} == {__file__}
    saved = place.restore(tmp_path / "back", "a")
    assert saved is not None
    back = {path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*")}
    assert back == {"model.bin", "latest", "part", "part/x", "best", "best/x", "empty", "empty/inner"}
    assert (tmp_path / "back" / "latest").read_text() == "source"
    assert (tmp_path / "back" / "best" / "x").read_text() == "x"
    assert (tmp_path / "back").stat().st_mode == (tmp_path / "source").stat().st_mode
    with pytest.raises(StorageError, match="cannot be read"):
        place.save(tmp_path / "none", "c")


@pytest.mark.azurite
def test_two_workers_that_send_one_name(azurite: Azurite, tmp_path: Path):
    """The second one's commit drops the blocks of the first: that one's file stays, which a warning tells."""
    azurite.container("models")
    engine = filesystem("az://models", environ=azurite.environment()).engine("models")
    for name in ("first", "second"):
        _folder(tmp_path / name)
    slow = _Hidden(engine, tmp_path / "first" / "model.bin", ("models", "twice/model.bin"), check=False)
    send_file(slow)
    send_folder(engine, "models", "twice/", tmp_path / "second", together=True)
    with pytest.warns(RuntimeWarning, match=r"twice/model.bin was written by another writer .* Next: report files"):
        slow.show()
    assert engine.get_bytes("models", "twice/model.bin") == b"second"


def _folder(path: Path) -> Path:
    path.mkdir()
    (path / "model.bin").write_text(path.name)
    return path
