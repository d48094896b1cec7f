"""Ctrl-C, or a full disk, in the middle of many files: nothing half stays, and the error says what was done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from azray_lab import blob
from azray_lab.errors import CancelledError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import engine_for
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.operation import Event

_KiB, _MiB = 2**10, 2**20
_CONTENT = bytes(range(256)) * 4096  # 1 MiB
_COUNT = 3000
_DOOMED = 1200


@pytest.fixture(scope="module")
def slow() -> Iterator[BlobServer]:
    """One server for the module, on which 1,000 requests, or a GiB that is sent, take at least three seconds."""
    with run_blob_server(latency=0.2, rate=20e6, intake=20e6) as server:
        server.seed("data", "many/{}", _COUNT, _CONTENT[: 64 * _KiB])
        yield server


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _sizes(server: BlobServer, prefix: str) -> list[int]:
    engine = engine_for(BlobUri.parse("az://data"), server.environment())
    return [one.size for one in engine.list("data", prefix)]


def _interrupted(server: BlobServer, words: list[str], wanted: str = '"event": "progress"') -> dict[str, Any]:
    """Runs `azray blob ...`, sends SIGINT when it says `wanted`, and returns its error."""
    command = [sys.executable, "-m", "azray_lab", "blob", *words, "--events"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | server.environment()
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if wanted in line:
                process.send_signal(signal.SIGINT)
                break
        said += process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 130
    errors = [event for event in map(json.loads, said) if event["event"] == "error"]
    found: dict[str, Any] = errors[-1]["error"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["cp", "sync"])
def test_ctrl_c_in_a_download_of_many(slow: BlobServer, tmp_path: Path, verb: str):
    """Files that are there are whole, as many as the error says, and no part of another one is."""
    words = ["cp", "-r"] if verb == "cp" else ["sync"]
    error = _interrupted(slow, [*words, "az://data/many", str(tmp_path)])
    there = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert [name for name in _below(tmp_path) if name.endswith(".part")] == []
    assert set(there) == {64 * _KiB}
    assert 0 < len(there) == error["facts"]["files"] < _COUNT
    assert error["cause"] == f"interrupted; {len(there)} of {_COUNT} files were copied, the others are as they were"


def test_ctrl_c_without_a_face(slow: BlobServer, tmp_path: Path):
    """In a script that runs the task itself KeyboardInterrupt becomes the same error."""
    task = blob.copy("az://data/many", tmp_path, recursive=True, environ=slow.environment())

    def listener(event: Event) -> None:
        if event.kind == "progress" and not told:
            told.append(event)
            signal.raise_signal(signal.SIGINT)

    told: list[Event] = []
    task.operation.subscribe(listener)
    with pytest.raises(CancelledError, match=rf"interrupted; \d+ of {_COUNT} files were copied") as caught:
        task.run()
    there = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert len(there) == caught.value.facts["files"] < _COUNT
    assert set(there) == {64 * _KiB}


@pytest.mark.slow
def test_ctrl_c_in_the_list(slow: BlobServer, tmp_path: Path):
    """While it still counts: no file, no folder; the service holds the list back, so that the signal comes in it."""
    slow.faults({"method": "GET", "path": "comp=list", "stall": 60.0})
    try:
        _interrupted(slow, ["cp", "-r", "az://data/many", str(tmp_path / "down")], '"stage": "list"')
    finally:
        slow.faults()
    assert _below(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["down", "up"])
def test_ctrl_c_beside_a_host_that_says_nothing(slow: BlobServer, tmp_path: Path, way: str):
    """Answers that nobody needs any more are not waited for, of which each would take half a minute and come to 1."""
    slow.seed("data", "large", 1, _CONTENT, 20)
    with (tmp_path / "file").open("wb") as file:
        file.truncate(20 * _MiB)
    ends = ["az://data/large", str(tmp_path / "down")]
    if way == "up":
        ends = [str(tmp_path / "file"), "az://data/up"]
    slow.faults({"method": "PUT" if way == "up" else "GET", "stall": 60.0})
    try:
        error = _interrupted(slow, ["cp", "--check", "crc64", *ends], '"stage": "copy"')
    finally:
        slow.faults()
    assert error["cause"] == "interrupted"
    assert _below(tmp_path) == ["file"]
    assert _sizes(slow, "up") == []


@pytest.mark.slow
@pytest.mark.parametrize("large", [True, False])
def test_ctrl_c_in_an_upload(slow: BlobServer, tmp_path: Path, large: bool):
    """Of one large file no blob appears; of many small ones as many whole blobs as the error says."""
    (tmp_path / "up").mkdir()
    for number in range(1 if large else 1000):
        with (tmp_path / "up" / str(number)).open("wb") as file:
            file.truncate(2**30 if large else 64 * _KiB)
    error = _interrupted(slow, ["sync", str(tmp_path / "up"), f"az://data/up-{large}"])
    there = _sizes(slow, f"up-{large}")
    assert set(there) <= {64 * _KiB}
    assert len(there) == error["facts"]["files"] < 1000
    assert (len(there) == 0) is large


@pytest.mark.slow
def test_ctrl_c_in_a_copy_by_the_service(slow: BlobServer):
    """Blobs that are there are whole, as many as the error says."""
    error = _interrupted(slow, ["cp", "-r", "az://data/many", "az://data/copied"])
    there = _sizes(slow, "copied/")
    assert set(there) == {64 * _KiB}
    assert 0 < len(there) == error["facts"]["files"] < _COUNT


@pytest.mark.slow
def test_ctrl_c_in_a_removal(slow: BlobServer):
    """As many blobs are gone as the error says, and a second removal ends it."""
    slow.seed("data", "doomed/{}", _DOOMED, b"x")
    error = _interrupted(slow, ["rm", "-r", "-y", "az://data/doomed"])
    gone = error["facts"]["files"]
    assert 0 < gone < _DOOMED
    assert error["cause"] == f"interrupted; {gone} files removed by then"
    assert len(_sizes(slow, "doomed/")) == _DOOMED - gone
    assert blob.remove("az://data/doomed", recursive=True, environ=slow.environment()).run().files == _DOOMED - gone


# A disk that fills up.

_MANY = """
import resource, sys
from azray_lab import AzureFileSystem, blob
from azray_lab.errors import StorageError

verb, folder, limit = sys.argv[1:]
if limit != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    if verb == "download_files":
        AzureFileSystem.download_files(folder, "az://disk")
    if verb == "sync":
        blob.sync("az://disk", folder).run()
except StorageError as error:
    print(error, error.facts["files"], sep="\\n")
"""


def _fill(verb: str, folder: Path, server: BlobServer, limit: int) -> tuple[str, int]:
    """What the verb says when files do not fit any more, and how many it says were copied."""
    environ = os.environ | server.environment()
    command = [sys.executable, "-c", _MANY, verb, str(folder), str(limit)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=120)
    error, files = done.stdout.splitlines()
    return error, int(files)


@pytest.fixture(scope="module")
def many() -> Iterator[BlobServer]:
    """A server with 60 blobs of 200 KiB and one of 2 MiB."""
    with run_blob_server() as server:
        server.seed("disk", "{:03}", 60, _CONTENT[: 200 * _KiB])
        server.seed("disk", "large", 1, _CONTENT, 2)
        yield server


@pytest.mark.parametrize("verb", ["download_files", "sync"])
def test_a_file_too_large_among_many(many: BlobServer, tmp_path: Path, verb: str):
    """A limit on file sizes stands for the disk: what fits is whole and counted, nothing of the large one stays."""
    error, files = _fill(verb, tmp_path, many, _MiB)
    assert f"{tmp_path}/large cannot be written: File too large; {files} of 61 files were copied" in error
    there = _below(tmp_path)
    assert len(there) == files
    assert "large" not in there
    assert {path.stat().st_size for path in tmp_path.iterdir()} <= {200 * _KiB}


@pytest.fixture
def disk(tmp_path: Path, require: Callable[..., None]) -> Iterator[Path]:
    """A disk of 4 MiB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    made = subprocess.run(command, capture_output=True, check=False)
    require("root", made.returncode == 0, f"no disk in memory: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("verb", ["download_files", "sync"])
def test_a_disk_that_fills_up(many: BlobServer, disk: Path, verb: str):
    """Some of the files fit: those are whole and counted; the error says that no space is left."""
    error, files = _fill(verb, disk, many, 0)
    assert "No space left on device" in error
    assert "Next: free some space" in error
    there = list(disk.iterdir())
    assert 0 < len(there) == files < 61
    assert {path.stat().st_size for path in there} <= {200 * _KiB, 2 * _MiB}
