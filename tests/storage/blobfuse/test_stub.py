"""Mounts with a stub of blobfuse2: every branch, also where this machine may not mount anything."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from azray_lab.errors import (
    BlobNotFoundError,
    CancelledError,
    CredentialError,
    DeadlineError,
    MountError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from azray_lab.operation import Operation
from azray_lab.storage.blobfuse import program
from azray_lab.storage.blobfuse.records import Record, Records
from azray_lab.targets.base import Handle
from azray_lab.targets.local.mounts import Mender

KEY = "c2VjcmV0LWtleQ=="


def test_a_mount_says_what_it_is_and_goes_without_a_trace(stage):
    """Mounted, it is healthy, known by its path and served by a process; unmounted, nothing of it is left."""
    record = stage.mount(profile="checkpoints")
    assert (record.uri, record.engine, record.mode) == ("az://data/x", "blobfuse2", "account_key")
    [health] = list(stage.mounts)
    assert (health.state, health.pid, health.owners) == ("mounted", record.pid, ("user",))
    assert psutil.Process(record.pid).is_running()
    assert stage.unmount()
    assert stage.left() == []
    assert not (stage.folder / "m").exists()


def test_the_secret_is_in_the_environment_alone(stage):
    """Neither the command, nor the configuration (0600), nor the record, nor the log holds the key."""
    stage.mount()
    seen = stage.seen
    assert seen["environ"]["AZURE_STORAGE_ACCESS_KEY"] == KEY
    assert "AZURE_STORAGE_CONNECTION_STRING" not in seen["environ"]
    assert not any(KEY in word for word in seen["argv"])
    for file in stage.mounts.records.root.rglob("*"):
        if file.is_file():
            assert KEY not in file.read_text(errors="replace"), file
    config = stage.mounts.records.folder(str(stage.folder / "m")).config
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "--disable-version-check" in seen["argv"]
    stage.unmount()


def test_a_signature_in_the_uri_opens_the_account_and_is_never_on_disk(stage):
    """The process gets it in its environment; record, configuration, log and command do not have it."""
    stage.mount(f"{stage.server.endpoint}/data/x?sv=2024-11-04&sig=c2VjcmV0", profile="checkpoints")
    seen = stage.seen
    assert "sig=c2VjcmV0" in seen["environ"]["AZURE_STORAGE_SAS_TOKEN"]
    assert "AZURE_STORAGE_ACCESS_KEY" not in seen["environ"]
    assert seen["config"]["azstorage"]["mode"] == "sas"
    assert not any("c2VjcmV0" in word for word in seen["argv"])
    for file in stage.mounts.records.root.rglob("*"):
        assert not file.is_file() or "c2VjcmV0" not in file.read_text(errors="replace"), file
    stage.unmount()


def test_a_mount_whose_record_cannot_be_kept_leaves_nothing(stage):
    """When the record's place is taken, the mount that answers already is ended again."""
    stage.environ["STUB"] = "no-room-for-the-record"
    with pytest.raises(MountError, match=r"record\.json: Is a directory"):
        stage.mount()
    assert stage.left() == []
    assert not (stage.folder / "m").exists()


def test_a_mount_that_cannot_be_brought_back_is_tried_ever_more_seldom(fresh_home: Path, tmp_path: Path):
    """The watchdog's pauses double from 5 seconds to 5 minutes; the tries are real processes that fail."""
    path, clock = str(tmp_path / "m"), [0.0]
    records = Records(fresh_home / "mounts")
    records.folder(path).make()
    copy = str(tmp_path / "no-copy")
    records.folder(path).write(Record("az://data", path, "dataset", "hydrate", 0.0, cache=copy, owners=("c1",)))
    handle = Handle("c", "local", "c1", {}, 0.0)
    mender = Mender(lambda: clock[0])
    for pause in (5.0, 10.0, 20.0):
        others = set(psutil.Process().children())
        assert mender.look(handle) == [path]
        _, alive = psutil.wait_procs(set(psutil.Process().children()) - others, timeout=60)
        assert not alive
        clock[0] += pause - 0.5
        assert mender.look(handle) == []
        clock[0] += 0.5


def test_profile_and_overrides_arrive(stage):
    """The configuration that the program gets is the profile's with the user's values."""
    stage.mount(profile="checkpoints", overrides={"file_cache.timeout-sec": 33})
    config = stage.seen["config"]
    assert config["file_cache"]["timeout-sec"] == 33
    assert config["disable-kernel-cache"] is True
    assert (config["azstorage"]["container"], config["azstorage"]["subdirectory"]) == ("data", "x")
    assert config["components"] == ["libfuse", "file_cache", "attr_cache", "azstorage"]
    stage.unmount()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("wrong-key", CredentialError, "refused"),
        ("no-container", BlobNotFoundError, "azray blob ls"),
        ("not-permitted", UnsupportedError, "SYS_ADMIN"),
        ("no-device", UnsupportedError, "--device /dev/fuse"),
        ("no-fuse3", UnsupportedError, "fusermount3 is not installed"),
        ("no-host", StorageError, "there is no such host"),
        ("not-empty", MountError, "the folder is not empty"),
        ("allow-other", MountError, "as root: echo user_allow_other >> /etc/fuse.conf"),
        ("no-library", UnsupportedError, "apt-get install fuse3"),
        ("log-only", StorageError, "no such host"),
        ("code-0-without-mount", MountError, "ended with code 0"),
        ("hangs", MountError, "did not answer within 2 s"),
        ("never-listed", MountError, "did not answer within 2 s"),
        ("too-old", UnsupportedError, "2.1"),
        ("no-version", UnsupportedError, "does not say its version"),
    ],
)
def test_a_mount_that_fails_says_why_and_leaves_nothing(stage, fault: str, kind: type, words: str):
    """Each fault is the error that fits, in one line, within the deadline; no process, folder or line stays."""
    stage.environ["STUB"] = fault
    with pytest.raises(kind) as caught:
        stage.mount(seconds=2.0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stage.left() == []
    assert not (stage.folder / "m").exists()


def test_cancelling_a_mount_that_waits_leaves_nothing(stage):
    """Ctrl-C while blobfuse2 is silent ends it, and what was begun is gone."""
    stage.environ["STUB"] = "hangs"
    operation: Operation[Any] = Operation("mount")
    request = stage.request()
    operation.start(lambda work: stage.mounts.mount(request, work))
    deadline = time.monotonic() + 30
    while not (stage.folder / "seen").exists() and time.monotonic() < deadline:
        operation.wait(0.05)
    operation.cancel("the test asked")
    with pytest.raises(CancelledError, match="the test asked"):
        operation.result(timeout=30)
    assert stage.left() == []


def test_a_folder_with_files_in_it_is_not_covered(stage):
    """What lies there would be hidden; it stays as it was."""
    (stage.folder / "m").mkdir()
    (stage.folder / "m" / "mine").touch()
    with pytest.raises(MountError, match="the folder is not empty"):
        stage.mount()
    assert (stage.folder / "m" / "mine").exists()
    assert not (stage.folder / "seen").exists()


def test_a_folder_that_was_there_stays(stage):
    """Only a folder that was made for the mount goes with it."""
    (stage.folder / "m").mkdir()
    stage.mount()
    stage.unmount()
    assert (stage.folder / "m").is_dir()


def test_the_same_again_is_the_one_that_is_there_and_another_is_refused(stage):
    """A second call finds the mount; another container at that path is an error that names what is there."""
    first = stage.mount(profile="checkpoints")
    assert stage.mount(profile="checkpoints").pid == first.pid
    with pytest.raises(MountError, match="az://data/x as checkpoints"):
        stage.mount("az://other", profile="checkpoints")
    stage.unmount()


def test_two_owners_keep_a_mount_until_both_are_gone(stage):
    """What two clusters use stays when the first of them ends."""
    stage.mount(owner="cluster-1")
    stage.mount(owner="cluster-2")
    assert not stage.unmount(owner="cluster-1")
    assert [one.state for one in stage.mounts] == ["mounted"]
    assert stage.unmount(owner="cluster-2")
    assert stage.left() == []


def test_who_waits_for_another_mount_of_the_same_folder_is_told_so(stage):
    """While somebody else fills the folder, however long that takes, a second mount says what it waits for."""
    operation, request = Operation[Any]("second"), stage.request()
    with stage.mounts.records.free(request.path) as free:
        assert free
        operation.start(lambda work: stage.mounts.mount(request, work))
        end = time.monotonic() + 30
        while not [event for event in operation.events if event.kind == "waiting"] and time.monotonic() < end:
            operation.wait(0.05)
        assert [event.message for event in operation.events if event.kind == "waiting"] == [
            f"another process is mounting or unmounting {request.path}"
        ]
        assert not (stage.folder / "m").exists()
    assert operation.result(timeout=30).path == request.path
    assert stage.unmount()


def test_two_mounts_of_one_container_do_not_clash(stage):
    """Each has its own process, cache and log."""
    one, other = stage.mount(path="m"), stage.mount(path="n")
    assert one.pid != other.pid
    assert one.cache != other.cache
    assert stage.unmount("m")
    assert [health.path for health in stage.mounts] == [other.path]
    assert stage.unmount("n")


def test_a_cache_folder_is_shared_and_keeps_what_is_in_it(stage):
    """Two mounts with one `--cache` have places of their own below it; foreign files and folders are never touched."""
    cache = stage.folder / "nvme"
    (cache / "mine").mkdir(parents=True)
    (cache / "mine" / "thesis.txt").write_text("years")
    (cache / "note.txt").write_text("mine, too")
    used = []
    for path in ("m", "n"):
        stage.mount(path=path, cache=str(cache))
        used.append(Path(stage.seen["config"]["file_cache"]["path"]))
    assert used[0] != used[1]
    assert {place.parent for place in used} == {cache / "azray-mounts"}
    assert stage.unmount("m")
    assert [place.exists() for place in used] == [False, True]
    assert stage.unmount("n")
    assert (cache / "mine" / "thesis.txt").read_text() == "years"
    assert (cache / "note.txt").read_text() == "mine, too"
    assert not used[1].exists()


@pytest.mark.slow
def test_an_open_file_is_waited_for_and_named(stage):
    """While this process has a file below it open, `unmount` says which and by whom, and it stays mounted."""
    stage.mount()
    file = stage.folder / "m" / "weights.bin"
    with file.open("w"):
        with pytest.raises(MountError, match=rf"weights\.bin in .* \(pid {os.getpid()}\)") as caught:
            stage.unmount(wait=0.2)
        assert caught.value.facts["open"]
        assert [one.state for one in stage.mounts] == ["mounted"]
        assert stage.unmount(lazy=True)
    # As the real one, it ends after the last file is closed, which `unmount --lazy` does not wait for.
    _gone(stage)


def _gone(stage: Any) -> None:
    """Waits until nothing is left, looking as `azray mounts` does."""
    end = time.monotonic() + 30
    while list(stage.mounts) or stage.left():
        assert time.monotonic() < end, stage.left()


def test_a_lazy_unmount_keeps_the_cache_of_a_process_that_still_writes(stage):
    """Until it has ended its folder stays and `mounts` says so; nobody mounts over it, mends it or kills it."""
    stage.environ["STUB"] = "writes-on"
    record = stage.mount(profile="checkpoints", cache=str(stage.folder / "nvme"))
    dirty = Path(record.cache) / "weights.bin"
    dirty.write_text("not written yet")
    with (stage.folder / "m" / "weights.bin").open("w"):
        assert stage.unmount(lazy=True)
    assert [(one.state, one.pid) for one in stage.mounts] == [("ending", record.pid)]
    operation: Operation[Any] = Operation("mend")
    with pytest.raises(MountError, match="was unmounted"):
        operation.run(lambda work: stage.mounts.mend(record.path, work))
    with pytest.raises(DeadlineError, match="writing what it holds"):
        stage.unmount(wait=0.1)
    assert psutil.Process(record.pid).is_running()
    assert dirty.read_text() == "not written yet"
    (stage.folder / "written").touch()
    _gone(stage)
    assert not dirty.exists()


def test_an_unmount_that_is_given_up_keeps_the_cache(stage):
    """Cancelled while the process still writes, the mount is ending, and the next unmount waits for the rest."""
    stage.environ["STUB"] = "writes-on"
    record = stage.mount(profile="checkpoints")
    operation: Operation[Any] = Operation("unmount")
    operation.start(lambda work: stage.mounts.unmount(record.path, work))
    end = time.monotonic() + 30
    while str(record.path) in stage.table.read_text():
        assert time.monotonic() < end
    operation.cancel("the test asked")
    with pytest.raises(CancelledError):
        operation.result(timeout=30)
    assert [one.state for one in stage.mounts] == ["ending"]
    assert Path(record.cache).exists()
    (stage.folder / "written").touch()
    _gone(stage)


def test_a_mount_whose_folder_fails_but_whose_process_lives_is_not_ended(stage):
    """Neither mounting again nor mending kills what may still hold data; a lazy unmount gives it up."""
    record = stage.mount(profile="checkpoints")
    (stage.folder / "m").rmdir()
    assert [one.state for one in stage.mounts] == ["silent"]
    with pytest.raises(MountError, match="its process lives"):
        stage.mount(profile="checkpoints")
    operation: Operation[Any] = Operation("mend")
    with pytest.raises(MountError, match="does not answer"):
        operation.run(lambda work: stage.mounts.mend(record.path, work))
    assert [process.pid for process in program.serving(record.path)] == [record.pid]
    assert stage.unmount(lazy=True)
    assert stage.left() == []


@pytest.mark.slow
def test_an_unmount_that_the_system_refuses_is_an_error(stage):
    """What we do not see open, another user's file for instance, is in the system's words."""
    stage.mount()
    stage.environ["STUB"] = "busy"
    with pytest.raises(MountError, match="Device or resource busy"):
        stage.unmount(wait=0)
    assert [one.state for one in stage.mounts] == ["mounted"]
    stage.environ["STUB"] = ""
    assert stage.unmount()


def test_a_glance_of_somebody_else_is_waited_for(stage):
    """Busy for a moment, as while another process asks for the free space, is no error."""
    stage.mount()
    stage.environ["STUB"] = "looked-at"
    assert stage.unmount()
    assert (stage.folder / "looked").exists()
    assert stage.left() == []


def test_a_mount_that_somebody_took_away_is_gone_and_mended(stage):
    """`gone` is seen without touching the folder; mending mounts it again with the same settings."""
    record = stage.mount(profile="checkpoints", overrides={"file_cache.timeout-sec": 33})
    stage.table.write_text("")
    psutil.Process(record.pid).kill()
    assert [one.state for one in stage.mounts] == ["gone"]
    operation: Operation[Any] = Operation("mend")
    again = operation.run(lambda work: stage.mounts.mend(record.path, work))
    assert again.pid != record.pid
    assert stage.seen["config"]["file_cache"]["timeout-sec"] == 33
    assert [one.state for one in stage.mounts] == ["mounted"]
    stage.unmount()


def test_mending_what_is_healthy_changes_nothing(stage):
    """The process stays the same."""
    record = stage.mount()
    operation: Operation[Any] = Operation("mend")
    assert operation.run(lambda work: stage.mounts.mend(record.path, work)) == record
    stage.unmount()


def test_what_is_not_ours_is_listed_and_can_be_unmounted(stage):
    """A mount of blobfuse2 that somebody made by hand is there, without owner, and `unmount` takes it away."""
    path = stage.folder / "n"
    path.mkdir()
    stage.table.write_text(f"42 27 0:39 / {path} rw - fuse blobfuse2 rw\n")
    [health] = list(stage.mounts)
    assert (health.path, health.uri, health.owners) == (str(path), "", ())
    assert stage.unmount("n")
    assert list(stage.mounts) == []


def test_what_is_not_mounted_cannot_be_unmounted(stage):
    """The error says that the kernel knows no mount there."""
    with pytest.raises(MountError, match="the kernel lists no mount there"):
        stage.unmount()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stage: (stage.folder / "bin" / "blobfuse2").unlink(), "blobfuse2 is not installed"),
        (lambda stage: (stage.folder / "bin" / "fusermount3").unlink(), "fuse3 is not installed"),
        (lambda stage: (stage.folder / "fuse").unlink(), "FUSE cannot be used here"),
    ],
)
def test_without_fuse_the_error_says_what_is_missing(stage, change: Any, words: str):
    """Before anything is made: the program, fuse3, or the device."""
    change(stage)
    with pytest.raises(UnsupportedError, match=words) as caught:
        stage.mount()
    assert caught.value.next_step
    assert stage.left() == []


def test_wrong_words_are_refused_before_anything_is_made(stage):
    """A URI without container, an unknown profile, a setting of a layer that is not there."""
    with pytest.raises(UsageError, match="names no container"):
        stage.mount("az://")
    with pytest.raises(UsageError, match="no profile"):
        stage.mount(profile="fast")
    with pytest.raises(UsageError, match="file_cache"):
        stage.mount(overrides={"block_cache.prefetch": 12})
    assert not (stage.folder / "m").exists()
    assert stage.left() == []


def test_a_link_above_the_folder_is_the_same_mount(stage):
    """The path is known by its real place, so that two spellings are one mount."""
    (stage.folder / "link").symlink_to(stage.folder)
    record = stage.mount(path="link/m")
    assert record.path == str(stage.folder / "m")
    assert stage.mount().pid == record.pid
    assert stage.unmount("link/m")
    assert Path(stage.folder / "link").is_symlink()
