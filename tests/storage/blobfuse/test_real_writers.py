"""What a mount through the real blobfuse2 shows of files that others write while it is there, and what it keeps."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import azray_lab
from azray_lab.storage.blobfuse import mountinfo, program
from azray_lab.testing.blob_server import BlobServer, run_blob_server

_READ = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
_WRITE = "import sys; f=open(sys.argv[1],'w'); f.write('precious'); f.close()"
_HOLD = "import sys; f=open(sys.argv[1],sys.argv[2]); {}; print('open',flush=True); sys.stdin.read(); {}; f.close()"


@pytest.fixture
def server(real: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobServer]:
    """A Blob service with the container `data`, to which the environment points."""
    del real, fresh_home
    with run_blob_server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        server.seed("data")
        yield server


def _read(path: Path) -> str:
    """The file's text, by a process of its own: a mount that hangs must not hang the tests."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _READ, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def _seen(path: Path, old: str, new: str) -> None:
    """Reads until the file is `new`; until then it is `old` as a whole: the kernel tells of a close a moment later."""
    end = time.monotonic() + 30
    while (text := _read(path)) != new:
        assert text == old
        assert time.monotonic() < end


def _holding(path: Path, mode: str, first: str = "0", last: str = "0") -> Any:
    """A process that has opened the file in `mode`, done `first`, and does `last` before it closes it."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _HOLD.format(first, last), str(path), mode],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


@pytest.mark.parametrize("profile", ["checkpoints", "shared"])
def test_a_file_that_another_writer_replaces_is_seen_whole_by_the_next_who_opens_it(
    server: BlobServer, real: Path, profile: str
):
    """Longer, shorter, and through another mount: who opens it after the write has the new text, never one cut."""
    del server
    files = azray_lab.filesystem("az://")
    files.pipe_file("data/latest", b"one")
    with (
        azray_lab.mount("az://data", real / "a", profile=profile) as one,
        azray_lab.mount("az://data", real / "b", profile=profile) as other,
    ):
        assert _read(one.path / "latest") == "one"
        texts = ("one", "the second, which is longer", "3", "fourth")
        for old, new in pairwise(texts[:-1]):
            files.pipe_file("data/latest", new.encode())
            _seen(one.path / "latest", old, new)
            assert (one.path / "latest").stat().st_size == len(new)
        done = subprocess.run(["sh", "-c", f"printf fourth > {other.path}/latest"], timeout=60, check=False)
        assert done.returncode == 0
        _seen(one.path / "latest", *texts[-2:])


def test_while_a_program_has_a_file_open_all_see_what_it_opened(server: BlobServer, real: Path):
    """A reader that keeps it open keeps its version for everyone on this mount; after its close the new one comes."""
    del server
    files = azray_lab.filesystem("az://")
    files.pipe_file("data/latest", b"one")
    with azray_lab.mount("az://data", real / "m", profile="shared") as folder:
        reader = _holding(folder.path / "latest", "r", "f.read()")
        files.pipe_file("data/latest", b"the second")
        assert _read(folder.path / "latest") == "one"
        reader.communicate(timeout=30)
        _seen(folder.path / "latest", "one", "the second")


def test_who_reads_a_file_that_is_being_written_takes_nothing_from_its_writer(server: BlobServer, real: Path):
    """Lines that are appended while others read the file are in Blob when it is closed, all of them."""
    del server
    files = azray_lab.filesystem("az://")
    files.pipe_file("data/log", b"old\n")
    with azray_lab.mount("az://data", real / "m", profile="shared") as folder:
        write = "f.write('{}\\n'); f.flush()".format
        writer = _holding(folder.path / "log", "a", write("first"), write("second"))
        assert _read(folder.path / "log") == "old\nfirst\n"
        writer.communicate(timeout=30)
        assert files.cat_file("data/log") == b"old\nfirst\nsecond\n"


@pytest.mark.parametrize("profile", ["checkpoints", "shared"])
def test_a_file_whose_upload_was_refused_is_told_and_kept_when_it_is_unmounted(
    server: BlobServer, real: Path, profile: str
):
    """`close` fails, the service is well again: the list tells of it, and its bytes are where the warning says."""
    folder = azray_lab.mount("az://data/x", real / "m", profile=profile)
    server.faults({"method": "PUT", "status": 403, "code": "AuthorizationPermissionMismatch"})
    done = subprocess.run(
        [sys.executable, "-I", "-c", _WRITE, str(folder.path / "a")],
        timeout=60, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "Permission denied" in done.stderr
    end = time.monotonic() + 30
    while "libfuse_release" not in folder.health().last_error:  # it tries once more
        assert time.monotonic() < end
    server.faults()
    health = folder.health()
    assert (health.state, health.unwritten) == ("mounted", 1)
    with pytest.warns(RuntimeWarning, match="1 file of .* may not be in Blob: azray blob cp -r"):
        folder.unmount()
    [kept] = azray_lab.mounting.unwritten(folder.path)
    assert (Path(kept.folder) / "a").read_text() == "precious"


def test_who_is_killed_while_it_mounts_leaves_nothing_that_is_lost(server: BlobServer, real: Path):
    """SIGKILL as soon as the kernel lists it, then for blobfuse2 while a file is open: the next mount keeps that."""
    del server
    path = real / "m"
    words = [sys.executable, "-m", "azray_lab", "mount", "az://data/x", str(path), "-p", "checkpoints"]
    maker = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while mountinfo.at(path) is None and maker.poll() is None:
        assert time.monotonic() < end
    maker.kill()
    maker.wait(30)
    writer = _holding(path / "a", "w", "f.write('precious'); f.flush()")
    [daemon] = program.serving(str(path))
    daemon.kill()
    assert program.ended(str(path))
    writer.communicate(timeout=30)
    with azray_lab.mount("az://data/x", path, profile="checkpoints"):
        [kept] = azray_lab.mounting.unwritten(path)
    assert (Path(kept.folder) / "a").read_text() == "precious"
    assert not path.exists()
