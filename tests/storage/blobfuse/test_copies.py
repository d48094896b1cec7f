"""Copies of many small blobs, against Azurite: brought once, kept up to date, never outside of their folder."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab.errors import DeadlineError, StorageError
from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse import blobs, mountinfo
from azray_lab.storage.blobfuse.capacity import MIB
from azray_lab.storage.blobfuse.copies import Copy, make_room
from azray_lab.storage.blobfuse.mounts import Mounts
from azray_lab.storage.blobfuse.request import Request
from azray_lab.storage.engine.flights import BYTES_IN_FLIGHT, whole_files
from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite
ROOM = 2**30


class Container:
    """A container with some blobs, and its copy."""

    def __init__(self, azurite: Azurite, name: str, folder: Path) -> None:
        self.environ = dict(os.environ) | azurite.environment()
        self.uri = BlobUri.parse(f"{azurite.container(name)}/set")
        self.files: Any = azray_lab.filesystem("az://", environ=self.environ)
        self.base = f"{name}/set"
        self.copy = Copy(folder / "copy")

    def put(self, **blobs: str) -> None:
        """Writes blobs; `__` in a name stands for a slash."""
        for name, text in blobs.items():
            self.files.pipe_file(f"{self.base}/{name.replace('__', '/')}", text.encode())

    def sync(self, room: int = ROOM) -> int:
        """How many files came."""
        return Operation[int]("sync").run(lambda work: self.copy.sync(self.uri, work, room, self.environ))

    def there(self) -> dict[str, str]:
        """The files of the copy."""
        root = self.copy.files
        return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def container(azurite: Azurite, tmp_path: Path, request: pytest.FixtureRequest) -> Container:
    """A container of the test's own."""
    name = "c" + str(abs(hash(request.node.name)))[:16]
    return Container(azurite, name, tmp_path)


def test_only_what_changed_comes_again(container: Container):
    """New, changed and removed blobs are followed by their versions; nothing else is fetched."""
    container.put(a="1", b__c="2", d="3")
    assert container.sync() == 3
    assert container.there() == {"a": "1", "b/c": "2", "d": "3"}
    assert container.sync() == 0
    container.put(a="one")
    container.files.rm_file(f"{container.base}/d")
    assert container.sync() == 1
    assert container.there() == {"a": "one", "b/c": "2"}


def test_a_copy_that_was_broken_off_goes_on(container: Container):
    """What the journal knows and is there stays, half a line of it does not count, a lost file comes again."""
    container.put(a="1", b="2", c="3")
    container.sync()
    journal = container.copy.root / "journal"
    lines = journal.read_text().splitlines()
    journal.write_text(f"{lines[0]}\n{lines[1]}\n{lines[2][:9]}")
    (container.copy.files / json.loads(lines[0])[0]).unlink()
    assert container.sync() == 2
    assert container.there() == {"a": "1", "b": "2", "c": "3"}


def test_names_that_are_no_files_stay_out_and_are_counted(container: Container):
    """A name with an empty part, and one that is a folder of others, are left out; nothing lies outside."""
    container.put(a="1", x="2", x__y="3")
    container.files.pipe_file(f"{container.base}//etc/passwd", b"evil")
    operation: Operation[int] = Operation("sync")
    operation.run(lambda work: container.copy.sync(container.uri, work, ROOM, container.environ))
    assert container.there() == {"a": "1", "x/y": "3"}
    [note] = [event for event in operation.events if event.kind == "note"]
    assert (note.data["left_out"], note.data["names"]) == (2, ["/etc/passwd", "x"])
    assert note.message == "left out 2 blobs whose names cannot be files: '/etc/passwd', 'x'"


def test_what_is_too_large_is_not_begun(container: Container):
    """Without room nothing is fetched, and the error says how much there is."""
    container.put(a="12345")
    with pytest.raises(StorageError, match="larger than its copy may be"):
        container.sync(room=4)
    assert container.there() == {}


def test_room_is_made_by_what_nobody_uses(tmp_path: Path):
    """The copy that was not used for the longest time goes first; one in use never does."""
    for age, name in enumerate(("new", "old", "used")):
        copy = Copy(tmp_path / name)
        copy.files.mkdir(parents=True)
        (copy.root / "journal").write_text(f'["f", 100, "{name}"]\n')
        os.utime(copy.root / "journal", (1000 - age, 1000 - age))

    def room() -> int:
        return 260 - sum(Copy(path).size() for path in tmp_path.iterdir() if path.is_dir())

    make_room(tmp_path, 50, room, [tmp_path / "used"])
    assert sorted(path.name for path in tmp_path.glob("*") if path.is_dir()) == ["new", "used"]
    make_room(tmp_path, 200, room, [tmp_path / "used"])
    assert [path.name for path in tmp_path.glob("*") if path.is_dir()] == ["used"]


def test_what_fits_evicts_nothing(tmp_path: Path):
    """Copies that nobody uses stay as long as there is room for the next one."""
    copy = Copy(tmp_path / "unused")
    copy.files.mkdir(parents=True)
    copy.journal.write_text('["f", 100, "x"]\n')
    make_room(tmp_path, 50, lambda: 50, [])
    assert copy.known()


def test_room_is_never_made_by_what_is_not_a_copy(tmp_path: Path):
    """A folder without our journal is somebody's own: it stays, whatever is missing."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("x")
    make_room(tmp_path, 10**9, lambda: 0, [])
    assert (tmp_path / "photos" / "one.jpg").read_text() == "x"


def test_a_copy_that_another_process_works_on_is_waited_for_and_kept(tmp_path: Path):
    """While it is locked it makes no room and nobody else changes it; afterwards both are possible."""
    copy = Copy(tmp_path / "copy")
    copy.files.mkdir(parents=True)
    (copy.root / "journal").write_text('["f", 100, "x", 0]\n')
    first: Operation[None] = Operation("first")

    def work(operation: Operation[None]) -> None:
        with copy.lock(operation):
            make_room(tmp_path, 200, lambda: 100, [])
            assert copy.known()
            with pytest.raises(DeadlineError, match="another process works"), Copy(copy.root).lock(operation, 0.05):
                pass

    first.run(work)
    make_room(tmp_path, 200, lambda: 100, [])
    assert not copy.root.exists()


def test_local_damage_is_found_and_mended(container: Container):
    """Files are read-only for everybody; one that was changed, cut or replaced by a link comes again."""
    container.put(a="1", b="22", c="3", d="4")
    container.sync()
    files = container.copy.files
    assert {stat.S_IMODE((files / name).stat().st_mode) for name in "abcd"} == {0o444}
    for name in "ab":
        (files / name).chmod(0o644)
    (files / "a").write_text("X")  # the same size, another time
    os.truncate(files / "b", 1)
    (files / "c").unlink()
    (files / "c").symlink_to(files / "d")
    assert container.sync() == 3
    assert container.there() == {"a": "1", "b": "22", "c": "3", "d": "4"}
    assert container.sync() == 0


def test_what_is_not_whole_is_never_among_the_files(container: Container):
    """What a killed process had begun lies beside them and goes with the next sync; the service's error leaves none."""
    container.put(a="1", b="2")
    parts = container.copy.root / "parts"
    parts.mkdir(parents=True)
    (parts / "begun").write_text("ha")
    assert container.sync() == 2
    assert container.there() == {"a": "1", "b": "2"}
    assert not parts.exists()


def test_small_files_do_not_wait_for_the_memory_of_large_ones(container: Container):
    """While large files have all the bytes that they may, small ones come, each with no more than its own size."""
    container.put(**{f"f{number}": "x" for number in range(40)})
    operation: Operation[int] = Operation("sync")
    with whole_files.hold(BYTES_IN_FLIGHT):
        operation.start(lambda work: container.copy.sync(container.uri, work, ROOM, container.environ))
        assert operation.result(timeout=60) == 40


def test_a_folder_becomes_a_file_and_a_file_a_folder(container: Container):
    """When `a/b` goes and `a` comes, and the other way round, the copy follows."""
    container.put(a__b__c="1", x="2")
    container.sync()
    container.files.rm_file(f"{container.base}/a/b/c")
    container.files.rm_file(f"{container.base}/x")
    container.put(a="3", x__y="4")
    container.sync()
    assert container.there() == {"a": "3", "x/y": "4"}


def test_large_files_count_with_all_their_bytes(tmp_path: Path):
    """Each travels in ranges side by side: two of 64 MiB are never under way together."""
    with run_blob_server() as server:
        uri = BlobUri.parse(server.seed("data", "set/{}", 3, os.urandom(MIB), 64))
        wanted = list(blobs.listed(uri, server.environment()))
        seen: list[int] = []

        place = blobs.Place(tmp_path / "files", tmp_path / "parts")
        place.parts.mkdir()

        def work(operation: Operation[None]) -> None:
            with operation.stage("copy", "three files") as stage:
                blobs.fetch(
                    uri, wanted, place, operation, stage, lambda _: seen.append(len(list(place.parts.iterdir()))),
                    server.environment(),
                )  # fmt: skip

        Operation[None]("fetch").run(work)
    assert len(seen) == 3
    assert max(seen) <= 1


@pytest.fixture
def mounted(container: Container, tmp_path: Path) -> Iterator[tuple[Mounts, Path, Callable[..., Any]]]:
    """Mounts of a home of their own; what is mounted at the end is taken away."""
    mounts = Mounts(tmp_path / "home" / "mounts", container.environ)
    path = Path(os.path.realpath(tmp_path)) / "m"

    def mount(**how: Any) -> Any:
        request = Request(container.uri, str(path), "dataset", **how)
        return Operation[Any]("mount").run(lambda work: mounts.mount(request, work))

    yield mounts, path, mount
    if mounts.records.get(str(path)):
        Operation[Any]("unmount").run(lambda work: mounts.unmount(str(path), work, lazy=True))


def test_a_data_set_of_small_files_is_a_copy_at_the_path(container: Container, mounted: Any):
    """`auto` sees sixty small blobs and brings them; the path shows them, read-only, until it is unmounted."""
    mounts, path, mount = mounted
    container.put(**{f"f{number}": f"{number}" for number in range(60)})
    record = mount()
    assert (record.engine, record.read_only) == ("hydrate", True)
    assert "no FUSE mount is fast" in record.why
    assert (path / "f7").read_text() == "7"
    assert len(list(path.iterdir())) == 60
    [health] = [one for one in mounts if one.owners]
    assert (health.state, health.engine) == ("mounted", "hydrate")
    assert health.cache > 0
    if mountinfo.at(str(path)):
        with pytest.raises(OSError, match="Read-only file system"):
            (path / "new").touch()
    assert Operation[bool]("u").run(lambda work: mounts.unmount(str(path), work))
    assert not path.exists()
    assert not [one for one in mounts if one.owners]


def test_copies_lie_below_the_cache_folder_beside_what_is_there(container: Container, mounted: Any, tmp_path: Path):
    """With `--cache` the copy is in a folder of ours in it; a file and a folder of somebody's survive."""
    mounts, path, mount = mounted
    container.put(a="1")
    (tmp_path / "nvme" / "mine").mkdir(parents=True)
    (tmp_path / "nvme" / "note.txt").write_text("mine")
    record = mount(engine="hydrate", cache=str(tmp_path / "nvme"))
    assert Path(record.cache).parent == tmp_path / "nvme" / "azray-copies"
    assert Operation[bool]("u").run(lambda work: mounts.unmount(str(path), work))
    assert sorted(one.name for one in (tmp_path / "nvme").iterdir()) == ["azray-copies", "mine", "note.txt"]


def test_a_second_mount_changes_nothing_under_the_first(container: Container, mounted: Any):
    """Each shows what was there when it was mounted; what has not changed is on the disk once, and comes once."""
    mounts, path, mount = mounted
    container.put(a="1", same="x", gone="3")
    first = mount(engine="hydrate")
    request = Request(container.uri, f"{path}2", "dataset", "hydrate")
    shared = Operation[Any]("mount").run(lambda work: mounts.mount(request, work))
    assert shared.cache == first.cache
    assert Operation[Any]("unmount").run(lambda work: mounts.unmount(f"{path}2", work))
    container.put(a="one")
    container.files.rm_file(f"{container.base}/gone")
    second = Operation[Any]("mount").run(lambda work: mounts.mount(request, work))
    try:
        assert [(path / name).read_text() for name in ("a", "same", "gone")] == ["1", "x", "3"]
        assert sorted(one.name for one in Path(f"{path}2").iterdir()) == ["a", "same"]
        assert Path(f"{path}2/a").read_text() == "one"
        files = [Path(record.cache) / "files" / "same" for record in (first, second)]
        assert files[0].stat().st_ino == files[1].stat().st_ino
    finally:
        Operation[Any]("unmount").run(lambda work: mounts.unmount(f"{path}2", work))
    assert Operation[Any]("unmount").run(lambda work: mounts.unmount(str(path), work))
    assert mount(engine="hydrate").cache == first.cache
    assert (path / "a").read_text() == "one"


def test_a_copy_that_was_taken_away_is_brought_back(container: Container, mounted: Any):
    """Mending shows the files again, without asking the service."""
    mounts, path, mount = mounted
    container.put(a="1")
    mount(engine="hydrate")
    _take_away(path)
    assert [one.state for one in mounts if one.owners] == ["gone"]
    mounts.environ.pop("AZURE_STORAGE_CONNECTION_STRING")
    Operation[Any]("mend").run(lambda work: mounts.mend(str(path), work))
    assert (path / "a").read_text() == "1"


def test_the_error_in_a_block_is_what_comes_out_of_it(container: Container, tmp_path: Path, fresh_home: Path):
    """With a file of the mount open, too: it goes lazily, and nobody waits; what was unmounted inside ends quietly."""
    del fresh_home
    container.put(a="1")
    path, how = Path(os.path.realpath(tmp_path)) / "m", {"engine": "hydrate", "environ": container.environ}
    with azray_lab.mount(container.uri, path, **how) as folder:
        folder.unmount()
    folder = azray_lab.mount(container.uri, path, **how)
    with (path / "a").open() as file:
        with pytest.raises(ValueError, match="mine"), folder:
            raise ValueError("mine")
        assert file.read() == "1"
    assert not path.exists()


def test_the_folders_of_a_copy_are_for_reading(container: Container):
    """Their owner cannot make or remove a file there by mistake; syncing and removing the copy work all the same."""
    container.put(a="1", b__c="2", d__e__f="3")
    container.sync()
    folders = [path for path in (container.copy.files, *container.copy.files.rglob("*")) if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o555}
    container.files.rm_file(f"{container.base}/b/c")
    container.put(d__e__g="4")
    assert container.sync() == 1
    assert container.there() == {"a": "1", "d/e/f": "3", "d/e/g": "4"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in container.copy.files.rglob("*") if path.is_dir()} == {0o555}
    # As any other user than root: the test's own process may be root, for whom no mode counts.
    script = (
        "import os, sys; from pathlib import Path; from azray_lab.storage.blobfuse.copies import Copy\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "c = Copy(Path(sys.argv[1])); t = c.files / 'new'\n"
        "try: t.touch()\nexcept PermissionError: print('refused')\n"
        "print(c.remove_unlocked(), c.root.exists())"
    )
    root = Path(tempfile.mkdtemp(prefix="azray-copy-"))
    try:
        shutil.copytree(container.copy.root, root / "copies" / "copy")
        for path in (root, *root.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534)
        command = [sys.executable, "-c", script, str(root / "copies" / "copy")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd="/")
        assert done.stdout.split() == ["refused", "True", "False"]
    finally:
        shutil.rmtree(root)


def test_who_may_not_bind_gets_a_link(container: Container, mounted: Any, tmp_path: Path):
    """Without the right, or the program, to mount, a link shows the copy; it goes as a bind mount would."""
    mounts, path, mount = mounted
    container.put(a="1")
    mounts.environ["PATH"] = str(tmp_path)
    assert mount(engine="hydrate").linked
    assert path.is_symlink()
    assert (path / "a").read_text() == "1"
    assert [one.state for one in mounts if one.owners] == ["mounted"]
    _take_away(path)
    assert [one.state for one in mounts if one.owners] == ["gone"]
    Operation[Any]("mend").run(lambda work: mounts.mend(str(path), work))
    assert (path / "a").read_text() == "1"
    assert Operation[bool]("u").run(lambda work: mounts.unmount(str(path), work))
    assert not path.exists()


def _take_away(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        path.mkdir()
    else:
        subprocess.run(["umount", str(path)], check=True, timeout=20)


def test_without_fuse_the_copy_says_why_it_is_one(container: Container, tmp_path: Path):
    """Where there is no device and the request allows it, the same mount is a read-only copy that says so."""
    container.put(a="1")
    mounts = Mounts(tmp_path / "home" / "mounts", container.environ, device=tmp_path / "no-device")
    path = Path(os.path.realpath(tmp_path)) / "m"
    request = Request(container.uri, str(path), "shared", fallback="copy")
    record: Any = Operation[Any]("mount").run(lambda work: mounts.mount(request, work))
    try:
        assert (record.engine, record.read_only, (path / "a").read_text()) == ("hydrate", True, "1")
        assert "a read-only copy, because" in record.why
        assert [one.why for one in mounts if one.owners] == [record.why]
    finally:
        Operation[bool]("u").run(lambda work: mounts.unmount(str(path), work))
    assert not path.exists()
