"""A stub of blobfuse2 and its table of mounts, and the real one where it is installed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse import mountinfo, program
from azray_lab.storage.blobfuse.mounts import Mounts
from azray_lab.storage.blobfuse.request import Request
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.records import Record

STUB = Path(__file__).parent / "programs" / "blobfuse2.py"
KEY = "c2VjcmV0LWtleQ=="
ACCOUNT = f"DefaultEndpointsProtocol=http;AccountName=acc;AccountKey={KEY};BlobEndpoint="


@dataclass
class Stage:
    """Mounts with the stub on PATH, and what the stub saw."""

    mounts: Mounts
    folder: Path
    table: Path
    environ: dict[str, str]
    server: BlobServer

    def request(self, uri: str = "az://data/x", path: str = "m", **how: Any) -> Request:
        """A request for a folder of the test's own."""
        return Request(BlobUri.parse(uri), str(self.folder / path), **how)

    def mount(self, uri: str = "az://data/x", path: str = "m", seconds: float = 20.0, **how: Any) -> Record:
        """Mounts it."""
        request = self.request(uri, path, **how)
        record: Record = run(lambda work: self.mounts.mount(request, work, seconds))
        return record

    def unmount(self, path: str = "m", **how: Any) -> bool:
        """Unmounts it."""
        return bool(run(lambda work: self.mounts.unmount(str(self.folder / path), work, **how)))

    @property
    def seen(self) -> dict[str, Any]:
        """Arguments, configuration and environment of the last `blobfuse2 mount`."""
        return dict(json.loads((self.folder / "seen").read_text()))

    def left(self) -> list[str]:
        """What of any mount is still there: lines of the table, processes, folders."""
        lines = [line for line in self.table.read_text().splitlines() if "blobfuse2" in line]
        processes = [str(p) for path in (self.folder / "m", self.folder / "n") for p in program.serving(str(path))]
        return lines + processes + [str(p) for p in self.mounts.records.root.glob("*") if p.is_dir()]


def run(work: Callable[[Operation[Any]], Any]) -> Any:
    """Does work as an operation."""
    return Operation("test").run(work)


@pytest.fixture(scope="session")
def blob_server() -> Iterator[BlobServer]:
    """A service with the containers `data` and `other`, for what is asked before blobfuse2 is started."""
    with run_blob_server() as server:
        server.seed("data")
        server.seed("other")
        yield server


@pytest.fixture
def stage(tmp_path: Path, blob_server: BlobServer) -> Iterator[Stage]:
    """A place where the stub is the only blobfuse2, whatever this machine has and may."""
    folder = Path(os.path.realpath(tmp_path))
    programs = folder / "bin"
    programs.mkdir()
    for name in ("blobfuse2", "fusermount3"):
        (programs / name).write_text(f"#!{sys.executable}\n{STUB.read_text()}")
        (programs / name).chmod(0o755)
    table, device = folder / "table", folder / "fuse"
    table.write_text("21 1 0:20 / / rw - ext4 /dev/root rw\n")
    device.touch()
    environ = {
        "PATH": str(programs),
        "AZURE_STORAGE_CONNECTION_STRING": ACCOUNT + blob_server.endpoint,
        "STUB_TABLE": str(table),
        "STUB_SEEN": str(folder / "seen"),
        **{name: value for name, value in os.environ.items() if name.startswith("PYTEST_")},
    }
    yield Stage(Mounts(folder / "state" / "mounts", environ, table, device), folder, table, environ, blob_server)
    blob_server.faults()
    for name in ("m", "n"):
        for process in program.serving(str(folder / name)):
            process.kill()


@pytest.fixture
def real(tmp_path: Path, require: Callable[..., None]) -> Iterator[Path]:
    """A folder in which the real blobfuse2 can mount; whatever is mounted below it at the end is taken away."""
    found = shutil.which("blobfuse2")
    require("blobfuse2", found, "no blobfuse2 on PATH (https://github.com/Azure/azure-storage-fuse has packages)")
    require("blobfuse2", shutil.which("fusermount3"), "no fusermount3 on PATH (package fuse3)")
    require("blobfuse2", os.access("/dev/fuse", os.R_OK | os.W_OK), "/dev/fuse cannot be used")
    require("blobfuse2", os.geteuid() == 0, "the tests mount as root")
    folder = Path(os.path.realpath(tmp_path))
    yield folder
    for there in mountinfo.read():
        if there.path.startswith(f"{folder}/"):
            for process in program.serving(there.path):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            subprocess.run(["umount", "-l", there.path], check=False, capture_output=True, timeout=20)
