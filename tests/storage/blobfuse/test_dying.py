"""What happens when blobfuse2 is killed: the watchdog, unwritten files, signatures that are gone. By the stub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest

import azray_lab
from azray_lab.errors import MountError
from azray_lab.operation import Operation
from azray_lab.storage.blobfuse import program
from azray_lab.storage.blobfuse.health import quick
from azray_lab.targets.base import Handle
from azray_lab.targets.local.mounts import Mender
from azray_lab.testing.blob_server import run_blob_server

# Nobody listens at port 1, so that Blob cannot be asked.
SILENT = "DefaultEndpointsProtocol=http;AccountName=acc;AccountKey=c2VjcmV0LWtleQ==;BlobEndpoint=http://127.0.0.1:1/acc"


def test_a_daemon_that_was_killed_is_brought_back_by_the_watchdog(stage, fresh_home: Path):
    """After kill -9 the watchdog's next look starts a process that mounts again, with another daemon, and says so."""
    record, mender, handle = _dies(stage, fresh_home, profile="checkpoints")
    assert quick(record, stage.table) == "stale"
    assert mender.look(handle) == [record.path]
    _ended(mender)
    [health] = [one for one in stage.mounts if one.owners]
    assert (health.state, health.pid != record.pid) == ("mounted", True)
    assert psutil.Process(health.pid).is_running()
    assert mender.look(handle) == []
    assert stage.unmount(owner="c1")


@pytest.mark.slow
def test_what_a_killed_daemon_had_not_written_is_kept_by_the_watchdog(stage, fresh_home: Path):
    """Files that were written and cannot be compared with Blob come out of the cache, are listed, and stay."""
    record, mender, handle = _dies(
        stage,
        fresh_home,
        SILENT,
        profile="checkpoints",
        cache=str(stage.folder / "nvme"),
        files={"a/weights.bin": "half"},
    )
    [health] = [one for one in stage.mounts if one.owners]
    assert (health.state, health.unwritten) == ("stale", 1)
    assert f"1 file in {record.cache} may not be in Blob" in health.reason
    mender.look(handle)
    _ended(mender)
    [kept] = [one for one in stage.mounts if one.state == "kept"]
    assert (Path(kept.path) / "a" / "weights.bin").read_text() == "half"
    assert Path(kept.path).parent == stage.folder / "nvme" / "azray-unwritten"
    assert f"azray blob cp -r {kept.path} az://data/x" in kept.reason
    assert stage.unmount(owner="c1")
    assert (Path(kept.path) / "a" / "weights.bin").exists()
    shutil.rmtree(kept.path)
    assert list(stage.mounts) == []


def test_a_mount_by_a_signature_that_died_says_what_brings_it_back(stage, fresh_home: Path):
    """Nobody has the signature any more: `mend` and the watchdog try no other credential; a new mount has one."""
    uri = f"{stage.server.endpoint}/data/x"
    record, mender, handle = _dies(stage, fresh_home, uri=f"{uri}?sv=1&sig=c2VjcmV0", profile="checkpoints")
    [health] = [one for one in stage.mounts if one.owners]
    assert f"azray mount '{uri}?SIGNATURE' {record.path} --profile checkpoints" in health.reason
    mender.look(handle)
    _ended(mender)
    with pytest.raises(MountError, match="which is kept nowhere"):
        Operation[Any]("mend").run(lambda work: stage.mounts.mend(record.path, work))
    assert [one.state for one in stage.mounts] == ["stale"]
    assert stage.mount(f"{uri}?sv=1&sig=bmV3", profile="checkpoints", owner="c1").pid != record.pid
    assert "sig=bmV3" in stage.seen["environ"]["AZURE_STORAGE_SAS_TOKEN"]
    assert stage.unmount(owner="c1")


def _dies(
    stage: Any, home: Path, account: str = "", files: Mapping[str, str] = MappingProxyType({}), **how: Any
) -> Any:
    """A mount of cluster `c1` whose daemon was killed with `files` in its cache, the watchdog's mender, the handle.

    From then on the environment names `account`, if one is given.
    """
    os.environ.update(stage.environ, PATH=f"{stage.environ['PATH']}:{os.environ['PATH']}")
    stage.mounts.records.root = home / "mounts"  # where the watchdog's processes look
    record = stage.mount(owner="c1", **how)
    if account:
        stage.environ["AZURE_STORAGE_CONNECTION_STRING"] = os.environ["AZURE_STORAGE_CONNECTION_STRING"] = account
    for name, text in files.items():
        (Path(record.cache) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(record.cache) / name).write_text(text)
    psutil.Process(record.pid).kill()
    assert program.ended(record.path)
    (stage.folder / "m").rmdir()  # as the folder of a dead FUSE mount, it answers nobody
    return record, Mender(table=stage.table), Handle("c", "local", "c1", {}, 0.0)


def _ended(mender: Mender) -> None:
    """Waits for the processes that mend."""
    for process in mender.at_work.values():
        process.wait(timeout=60)


def test_what_is_in_blob_already_is_not_kept(stage, fresh_home: Path):
    """Each file of the cache is compared: equal bytes go, another size, other bytes or no blob at all stay."""
    with run_blob_server() as server:
        stage.environ.update(server.environment())
        server.seed("data")
        files = azray_lab.filesystem("az://", environ=stage.environ)
        for name, text in {"x/same": "1234", "x/shorter": "12", "x/other": "4321"}.items():
            files.pipe_file(f"data/{name}", text.encode())
        names = ("same", "shorter", "other", "sub/absent")
        record, *_ = _dies(stage, fresh_home, profile="shared", files=dict.fromkeys(names, "1234"))
        operation: Operation[bool] = Operation("unmount")
        assert operation.run(lambda work: stage.mounts.unmount(record.path, work, owner="c1"))
    [kept] = stage.mounts.unwritten
    folder = Path(kept.folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "other", "shorter", "sub/absent",
    ]  # fmt: skip
    assert (kept.files, kept.size, kept.uri) == (3, 12, "az://data/x")
    assert [event.message for event in operation.events if event.kind == "note"] == [str(kept)]
    assert f"azray blob cp -r {folder} az://data/x" in str(kept)


def test_what_lay_in_the_cache_before_or_was_only_read_is_not_kept(stage, fresh_home: Path):
    """A file that blobfuse2 fetched has its blob's time, and a mount that is read-only writes nothing."""
    record, *_ = _dies(stage, fresh_home, profile="shared", files={"fetched": "1234"})
    os.utime(Path(record.cache) / "fetched", (record.created - 60, record.created - 60))
    assert [one.unwritten for one in stage.mounts if one.owners] == [0]
    assert stage.unmount(owner="c1")
    assert list(stage.mounts) == []


def test_a_note_without_its_files_is_forgotten(stage, fresh_home: Path):
    """When somebody has brought the files away, `mounts` lists them no longer, and no note stays."""
    _dies(stage, fresh_home, SILENT, profile="shared", files={"a": "1"})
    assert stage.unmount(owner="c1")
    [kept] = stage.mounts.unwritten
    damaged = stage.mounts.unwritten.root / "damaged.json"
    damaged.write_text("{")
    assert list(stage.mounts.unwritten) == [kept]
    damaged.unlink()
    (Path(kept.folder) / "a").unlink()
    assert list(stage.mounts.unwritten) == []
    assert not list(stage.mounts.unwritten.root.glob("*.json"))
