"""What a mount is asked for: links, contradictions, the same path again, mounts in mounts, what the account says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from azray_lab.errors import BlobNotFoundError, CancelledError, CredentialError, MountError, StorageError, UsageError
from azray_lab.operation import Operation
from azray_lab.storage.blobfuse.locks import Lock


def _notes(stage: Any, *words: Any, **how: Any) -> list[str]:
    operation: Operation[Any] = Operation("mount")
    operation.run(lambda work: stage.mounts.mount(stage.request(*words, **how), work))
    return [event.message for event in operation.events if event.kind == "note"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_the_folder_to_which_it_leads(stage, there: bool):
    """Also one after another, and one that leads nowhere yet; a note names both, and the link unmounts it."""
    if there:
        (stage.folder / "m").mkdir()
    (stage.folder / "other").symlink_to("m")
    (stage.folder / "link").symlink_to(stage.folder / "other")
    notes = _notes(stage, path="link")
    assert f"{stage.folder}/link is a link: mounting at {stage.folder}/m, to which it leads" in notes
    assert [one.path for one in stage.mounts] == [str(stage.folder / "m")]
    assert stage.unmount("link")
    assert stage.left() == []
    assert (stage.folder / "link").is_symlink()
    assert (stage.folder / "m").is_dir() == there


def test_a_mount_by_a_link_that_fails_leaves_nothing(stage):
    """The process, the mount where it leads and the folder made for it are gone; the link stays."""
    (stage.folder / "link").symlink_to("m")
    stage.environ["STUB"] = "never-listed"
    with pytest.raises(MountError, match="did not answer"):
        stage.mount(path="link", seconds=2.0)
    assert stage.left() == []
    assert not (stage.folder / "m").exists()
    assert (stage.folder / "link").is_symlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"read_only": True}, "az://data/x as shared by blobfuse2, writable, is mounted there"),
        ({"engine": "hydrate"}, "as shared by blobfuse2 is mounted there"),
        ({"access": "random"}, "for sequential access is mounted there"),
        ({"cache": "nvme"}, "with its cache in"),
        ({"allow_other": True}, "with other settings"),
        ({"overrides": {"file_cache.max-size-mb": 99}}, "with other settings"),
        ({"profile": "checkpoints"}, "az://data/x as shared is mounted there"),
    ],
)
def test_another_wish_for_the_same_path_is_no_success(stage, how: dict[str, Any], words: str):
    """What is there is not what was asked for: the error says how they differ, and nothing changes."""
    record = stage.mount()
    if "cache" in how:
        how = {"cache": str(stage.folder / how["cache"])}
    with pytest.raises(MountError, match=words):
        stage.mount(**how)
    assert stage.mount(engine="blobfuse2", access="sequential", read_only=False).pid == record.pid
    assert stage.unmount()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"engine": "hydrate", "read_only": False}, "--engine hydrate and --writable contradict"),
        ({"fallback": "copy", "read_only": False}, "--fallback copy and --writable contradict"),
        ({"engine": "hydrate", "overrides": {"file_cache.max-size-mb": 99}}, "has no effect here"),
        ({"cache": "m/cache"}, "cannot be in the mount"),
        ({"cache": "file"}, "cannot be the cache: Not a directory|cannot be the cache: File exists"),
        ({"cache": "/proc/x"}, "/proc/x cannot be the cache"),
    ],
)
def test_what_contradicts_itself_is_wrong_use(stage, how: dict[str, Any], words: str):
    """Told before anything is made; also of the folder that was to be the cache."""
    (stage.folder / "file").touch()
    if not how.get("cache", "/").startswith("/"):
        how = {"cache": str(stage.folder / how["cache"])}
    with pytest.raises(UsageError, match=words):
        stage.mount(**how)
    assert not (stage.folder / "m").exists()
    assert not (stage.folder / "seen").exists()


def test_a_path_that_is_a_pattern_is_wrong_use(stage):
    """`blobfuse2 unmount /mnt/*` takes away all that fits."""
    with pytest.raises(UsageError, match=r"takes \* for a pattern"):
        stage.mount(path="m*")


def test_a_small_data_set_that_is_to_be_written_is_no_copy(stage):
    """`--writable` decides for blobfuse2 where `auto` would bring a copy."""
    stage.server.seed("data", "small/{}", 60, b"x")
    record = stage.mount("az://data/small", profile="dataset", read_only=False)
    assert (record.engine, record.read_only) == ("blobfuse2", False)
    assert stage.unmount()


@pytest.mark.parametrize(
    ("change", "uri", "kind", "words"),
    [
        ({"BlobEndpoint=http://127.0.0.1": "BlobEndpoint=http://nohost.invalid"}, "", StorageError, "there is no host"),
        ({"devstoreaccount1": "x;"}, "az://nowhere", BlobNotFoundError, "there is no container az://nowhere"),
        ({}, "az://data/one/blob", UsageError, r"is a blob.*Next: azray mount az://data/one"),
    ],
)
def test_the_account_is_asked_before_blobfuse2(stage, change: dict[str, str], uri: str, kind: type, words: str):
    """A host that is not there, a container, a folder: told by our engine, and blobfuse2 is not even started."""
    stage.server.seed("data", "one/blob", 1, b"x")
    name = "AZURE_STORAGE_CONNECTION_STRING"
    for old, new in change.items():
        stage.environ[name] = stage.environ[name].replace(old, new)
    with pytest.raises(kind, match=words):
        stage.mount(uri or "az://data/x")
    assert not (stage.folder / "seen").exists()
    assert not (stage.folder / "m").exists()


def test_a_refusal_is_told_by_one_request(stage):
    """403 is an error at once, with the service's code."""
    stage.server.faults({"status": 403, "code": "AuthenticationFailed"})
    with pytest.raises(CredentialError, match="403 AuthenticationFailed"):
        stage.mount()
    assert stage.server.counts()["GET list"] == 1
    assert not (stage.folder / "seen").exists()


@pytest.mark.parametrize("profile", ["dataset", "checkpoints"])
def test_the_deadline_holds_for_a_silent_service_too(stage, profile: str):
    """A service that takes the request and says nothing: the error comes at the mount's own deadline."""
    stage.server.faults({"hang": 0})
    with pytest.raises(StorageError, match="did not answer within 1 s"):
        stage.mount(profile=profile, seconds=1.0)
    assert not (stage.folder / "m").exists()


def test_nothing_to_read_is_told(stage):
    """A mount for reading says that there is nothing; a copy of nothing is an error; what is written may begin so."""
    assert any(
        "there is nothing at az://data/none yet" in note for note in _notes(stage, "az://data/none", profile="models")
    )
    assert stage.unmount()
    with pytest.raises(StorageError, match="az://data/none is empty"):
        stage.mount("az://data/none", profile="dataset", engine="hydrate")
    assert not [note for note in _notes(stage, "az://data/none", profile="shared") if "nothing" in note]
    assert stage.unmount()


def test_a_folder_that_somebody_else_has_mounted_is_not_ours_to_unmount(stage):
    """The root of the machine, a disk: the step is another folder."""
    stage.table.write_text(f"21 1 0:20 / {stage.folder}/m rw - ext4 /dev/sdb rw\n")
    with pytest.raises(MountError, match=r"ext4 \(/dev/sdb\) is mounted there. Next: give another folder"):
        stage.mount()


def test_no_mount_is_made_in_one_that_can_be_written(stage):
    """Its folder would be one in Blob: the error says of which."""
    stage.mount()
    with pytest.raises(MountError, match=r"it is in .*/m \(az://data/x\), so the folder would be one in Blob"):
        stage.mount("az://other", path="m/inner")
    assert list((stage.folder / "m").iterdir()) == []
    assert stage.unmount()


def test_a_mount_with_another_in_it_is_not_unmounted_without_a_word(stage):
    """The error names the inner one and the command; `lazy` takes both and says so."""
    stage.mount(profile="models")
    stage.mount("az://other", path="m/inner")
    with pytest.raises(
        MountError, match=rf"{stage.folder}/m/inner \(az://other\) is mounted in it. Next: azray unmount"
    ):
        stage.unmount()
    assert {one.state for one in stage.mounts} == {"mounted"}
    operation: Operation[bool] = Operation("unmount")
    assert operation.run(lambda work: stage.mounts.unmount(str(stage.folder / "m"), work, lazy=True))
    [note] = [event.message for event in operation.events if event.kind == "note"]
    assert note.endswith(f"goes what is mounted in it: {stage.folder}/m/inner (az://other)")
    end = time.monotonic() + 30
    while list(stage.mounts):
        assert time.monotonic() < end


def test_what_was_refused_is_kept_when_a_living_mount_ends(stage):
    """The cache has a file whose upload failed: it is kept and told; what is in Blob by now is not."""
    stage.server.seed("data", "x/good", 1, b"good")
    record = stage.mount(profile="checkpoints")
    (Path(record.cache) / "good").write_text("good")
    (Path(record.cache) / "refused").write_text("the only copy")
    # As the mount has it open, whatever this process may do.
    stage.environ["AZURE_STORAGE_CONNECTION_STRING"] = ""
    operation: Operation[bool] = Operation("unmount")
    assert operation.run(lambda work: stage.mounts.unmount(record.path, work))
    [kept] = stage.mounts.unwritten
    assert [(file.name, file.read_text()) for file in Path(kept.folder).iterdir()] == [("refused", "the only copy")]
    assert [event.message for event in operation.events if event.kind == "note"] == [str(kept)]
    assert stage.left() == []


@pytest.mark.slow
def test_what_is_kept_is_not_when_the_mount_stays(stage):
    """The system refuses to unmount: nothing was kept, and nothing is said of it."""
    record = stage.mount(profile="checkpoints")
    (Path(record.cache) / "refused").write_text("the only copy")
    stage.environ["STUB"] = "busy"
    with pytest.raises(MountError, match="Device or resource busy"):
        stage.unmount(wait=0)
    assert list(stage.mounts.unwritten) == []
    assert (Path(record.cache) / "refused").exists()
    stage.environ["STUB"] = ""
    assert stage.unmount()


def test_a_mount_whose_parent_is_gone_keeps_no_other_from_being_mended(stage, fresh_home: Path):
    """Each that cannot be brought back is told; the next one is there again."""
    del fresh_home
    (stage.folder / "a").mkdir()
    os.environ.update(stage.environ, PATH=f"{stage.environ['PATH']}:{os.environ['PATH']}")
    records = stage.mounts.records
    records.root = Path(os.environ["AZRAY_HOME"]) / "mounts"
    for path in ("a/gone", "m"):
        psutil.Process(stage.mount(path=path).pid).kill()
    stage.table.write_text("")
    (stage.folder / "a" / "gone").rmdir()
    (stage.folder / "a").rmdir()
    operation: Operation[Any] = Operation("mend")
    with pytest.raises(MountError, match=r"there is no folder .*/a. Next: mkdir -p"):
        operation.run(lambda work: stage.mounts.mend(str(stage.folder / "a" / "gone"), work))
    again: Operation[Any] = Operation("mend")
    again.run(lambda work: stage.mounts.mend(str(stage.folder / "m"), work))
    assert {one.path: one.state for one in stage.mounts}[str(stage.folder / "m")] == "mounted"
    assert stage.unmount()


def test_a_mount_is_known_before_its_process_is(stage):
    """Whoever is killed while blobfuse2 starts leaves a record, by which it is found, mended and taken away."""
    stage.environ["STUB"] = "hangs"
    operation: Operation[Any] = Operation("mount")
    request = stage.request(profile="checkpoints")
    operation.start(lambda work: stage.mounts.mount(request, work))
    end = time.monotonic() + 30
    while not (stage.folder / "seen").exists():
        assert time.monotonic() < end
    found = stage.mounts.records.get(request.path)
    assert (found.uri, found.profile, found.made) == ("az://data/x", "checkpoints", True)
    operation.cancel("the test asked")
    with pytest.raises(CancelledError):
        operation.result(timeout=30)
    assert stage.left() == []


def test_what_an_unknown_mount_had_not_written_is_kept(stage):
    """Its record is lost, its cache is not: before another mount takes the place, the files are kept and told."""
    record = stage.mount(profile="checkpoints")
    (Path(record.cache) / "precious").write_text("half")
    stage.mounts.records.folder(record.path).record.unlink()
    psutil.Process(record.pid).kill()
    stage.table.write_text("")
    assert any("1 file of" in note for note in _notes(stage, profile="checkpoints"))
    [kept] = stage.mounts.unwritten
    assert (Path(kept.folder) / "precious").read_text() == "half"
    assert stage.unmount()


def test_no_lock_stays(stage):
    """Mounted and unmounted, a path has left no file."""
    stage.mount()
    assert stage.unmount()
    assert [path for path in stage.mounts.records.root.rglob("*") if path.is_file()] == []


def test_a_lock_whose_file_was_taken_away_is_not_one(tmp_path: Path):
    """Who opened it before its holder removed it, has to begin anew: two can never have it."""
    first, second, third = (Lock(tmp_path / "x.lock") for _ in range(3))
    assert first.take()
    assert not second.take()
    first.free()
    assert not (tmp_path / "x.lock").exists()
    assert second.take()
    assert not third.take()
    second.free()
