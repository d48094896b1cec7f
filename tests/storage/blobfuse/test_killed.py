"""What is left when whoever mounts is killed, at any point, or a record is lost: found, mended, unmounted, kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from azray_lab.errors import MountError
from azray_lab.operation import Operation
from azray_lab.storage.blobfuse import program
from azray_lab.storage.blobfuse.health import quick
from azray_lab.targets.base import Handle
from azray_lab.targets.local.mounts import Mender

pytestmark = pytest.mark.slow

_MOUNT = """
import os, sys
from pathlib import Path
from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse.mounts import Mounts
from azray_lab.storage.blobfuse.request import Request
root, table, device, path, engine = sys.argv[1:]
request = Request(BlobUri.parse("az://data/x"), path, "checkpoints", engine=engine)
door = Mounts(Path(root), os.environ, Path(table), Path(device))
Operation("mount").run(lambda work: door.mount(request, work))
"""


def _killed(stage: Any, when: Callable[[], Any], fault: str = "", engine: str = "blobfuse2") -> str:
    """The path of a mount whose maker got SIGKILL as soon as `when` was true."""
    path = stage.folder / "m"
    words = [stage.mounts.records.root, stage.table, stage.folder / "fuse", path, engine]
    maker = subprocess.Popen([sys.executable, "-c", _MOUNT, *map(str, words)], env=stage.environ | {"STUB": fault})
    end = time.monotonic() + 30
    while not when() and maker.poll() is None:
        assert time.monotonic() < end
    maker.kill()
    assert maker.wait(30) == -signal.SIGKILL
    # A process that it was about to start has its locks until it has become another program.
    while (record := stage.mounts.records.get(str(path))) and stage.mounts.records.busy(record):
        assert time.monotonic() < end
    return str(path)


def _do(work: Callable[[Operation[Any]], Any]) -> Any:
    return Operation("test").run(work)


@pytest.mark.parametrize("way", ["unmount", "mount", "mend"])
def test_who_is_killed_before_the_folder_answers_leaves_what_can_be_taken_away(stage, way: str):
    """blobfuse2 is still opening the account: it is ended, mounted again or mended; nothing stays of the first try."""
    path = _killed(stage, (stage.folder / "seen").exists, "hangs")
    first = {process.pid for process in program.serving(path)}
    assert first
    assert [one.state for one in stage.mounts if one.owners] == ["gone"]
    if way == "mount":
        assert stage.mount(profile="checkpoints").pid
    elif way == "mend":
        assert _do(lambda work: stage.mounts.mend(path, work)).pid
    assert way == "unmount" or not first & {process.pid for process in program.serving(path)}
    assert stage.unmount()
    assert stage.left() == []
    assert not Path(path).exists()


def test_who_is_killed_as_soon_as_it_is_mounted_leaves_a_mount_as_any_other(stage, fresh_home: Path):
    """It is ours, with its process: the same again is that one, the watchdog sees it die, unmounting leaves nothing."""
    stage.mounts.records.root = fresh_home / "mounts"
    path = _killed(stage, lambda: str(stage.folder / "m") in stage.table.read_text())
    [health] = list(stage.mounts)
    assert (health.state, health.uri, health.owners) == ("mounted", "az://data/x", ("user",))
    assert [process.pid for process in program.serving(path)] == [health.pid]
    assert stage.mount(profile="checkpoints", owner="c1").pid == health.pid
    assert not stage.unmount()
    assert stage.unmount(owner="c1")
    assert stage.left() == []
    assert not Path(path).exists()


def test_its_death_is_seen_and_mended_as_well(stage):
    """By the kernel's table and the process alone, as the watchdog looks, though nobody noted the process."""
    path = _killed(stage, lambda: str(stage.folder / "m") in stage.table.read_text())
    record = stage.mounts.records.get(path)
    assert (quick(record, stage.table), record.starting) == ("mounted", True)
    psutil.Process(record.pid).kill()
    assert program.ended(path)
    Path(path).rmdir()  # as the folder of a dead FUSE mount, it answers nobody
    assert quick(stage.mounts.records.get(path), stage.table) == "stale"
    again = _do(lambda work: stage.mounts.mend(path, work))
    assert (again.pid != record.pid, again.starting) == (True, False)
    assert stage.unmount()
    assert stage.left() == []


def test_a_copy_that_was_broken_off_is_not_shown_by_mending(stage):
    """Nobody knows whether all of it came; the error names the call that goes on with it."""
    stage.server.seed("data", "x/{}", 3, b"1")
    stage.server.faults({"method": "GET", "path": "x%2F1", "hang": 0})
    path = _killed(stage, lambda: stage.server.counts().get("GET", 0) > 2, engine="hydrate")
    stage.server.faults()
    assert [one.state for one in stage.mounts if one.owners] == ["gone"]
    with pytest.raises(MountError, match=f"azray mount az://data/x {path} --profile checkpoints"):
        _do(lambda work: stage.mounts.mend(path, work))
    stage.mount(profile="checkpoints", engine="hydrate")
    assert {file.name for file in Path(path).iterdir()} >= {"0", "1", "2"}
    assert stage.unmount()
    assert stage.left() == []


def test_while_somebody_mounts_nobody_else_lists_or_mends_it(stage):
    """The list and the watchdog leave alone what is just being made."""
    record = stage.mount(profile="checkpoints", owner="c1")
    folder = stage.mounts.records.folder(record.path)
    folder.write(record.but(starting=True))
    with stage.mounts.records.free(record.path) as free:
        assert free
        assert not list(stage.mounts)
    assert [one.state for one in stage.mounts] == ["mounted"]
    assert stage.unmount(owner="c1")


@pytest.mark.parametrize("record", ["", "{"])
def test_a_mount_whose_record_is_lost_is_known_by_its_configuration(stage, record: str):
    """Where it is from, its process and its cache: what that had not written is kept by who mounts there next."""
    made = stage.mount(profile="checkpoints", cache=str(stage.folder / "nvme"))
    stage.mounts.records.folder(made.path).record.write_text(record)
    [health] = list(stage.mounts)
    assert (health.state, health.uri, health.pid) == ("mounted", "az://data/x", made.pid)
    (Path(made.cache) / "precious").write_text("only here")
    psutil.Process(made.pid).kill()
    assert program.ended(made.path)
    (stage.folder / "m").rmdir()
    stage.mount(profile="checkpoints", cache=str(stage.folder / "nvme"))
    [kept] = stage.mounts.unwritten
    assert ((Path(kept.folder) / "precious").read_text(), kept.uri) == ("only here", "az://data/x")
    assert stage.unmount()
    assert stage.left() == []


def test_a_living_mount_tells_whose_upload_has_failed(stage):
    """By blobfuse2's log: the count and the words of `azray mounts`, before it is unmounted."""
    record = stage.mount(profile="checkpoints")
    log = "Sat Nov 21 05:35:54 UTC 2026 : blobfuse2[1] : [/m] LOG_ERR [file_cache.go (1]: FileCache::FlushFile : "
    lines = [f"{log}{name} upload failed [403]\n" for name in ("a/weights", "gone")]
    stage.mounts.records.folder(record.path).log.write_text("".join(lines))
    (Path(record.cache) / "a").mkdir(parents=True)
    (Path(record.cache) / "a" / "weights").write_text("only here")
    (Path(record.cache) / "other").write_text("being written")
    [health] = list(stage.mounts)
    assert (health.state, health.unwritten) == ("mounted", 1)
    assert health.reason.startswith("the upload of 1 file failed")
    assert stage.unmount()
    [kept] = stage.mounts.unwritten
    assert (Path(kept.folder) / "a" / "weights").read_text() == "only here"


def test_the_watchdog_leaves_alone_what_is_being_mounted(stage, fresh_home: Path):
    """No process of its own for a mount that somebody makes just now."""
    stage.mounts.records.root = fresh_home / "mounts"
    record = stage.mount(profile="checkpoints", owner="c1")
    stage.mounts.records.folder(record.path).write(record.but(starting=True))
    stage.table.write_text("")
    mender, handle = Mender(table=stage.table), Handle("c", "local", "c1", {}, 0.0)
    with stage.mounts.records.free(record.path):
        assert mender.look(handle) == []


def test_a_mount_whose_folder_above_is_gone_is_told_in_our_words(stage):
    """Mending says which folder is missing, keeps the record, and mends again once the folder is there."""
    (stage.folder / "above").mkdir()
    record = stage.mount(path="above/m", profile="checkpoints")
    psutil.Process(record.pid).kill()
    assert program.ended(record.path)
    stage.table.write_text("21 1 0:20 / / rw - ext4 /dev/root rw\n")
    Path(record.path).rmdir()
    (stage.folder / "above").rmdir()
    with pytest.raises(MountError, match=f"there is no folder {stage.folder}/above. Next: mkdir -p"):
        _do(lambda work: stage.mounts.mend(record.path, work))
    (stage.folder / "above").mkdir()
    assert _do(lambda work: stage.mounts.mend(record.path, work)).pid != record.pid
    assert stage.unmount("above/m")
    assert stage.left() == []
