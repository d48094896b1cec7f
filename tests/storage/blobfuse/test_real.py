"""The real blobfuse2 against Azurite, wherever it is on PATH; everything with a deadline."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import azray_lab
import azray_lab.mounting
from azray_lab.errors import BlobNotFoundError, CredentialError, MountError, StorageError
from azray_lab.storage.blobfuse import mountinfo, probe, program
from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite
MIB = 1024 * 1024


@pytest.fixture
def account(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, real: Path, fresh_home: Path) -> Any:
    """The account's file system, with the environment that points at it."""
    del real, fresh_home
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    azurite.container("data")
    return azray_lab.filesystem("az://")


def _child(code: str, *arguments: str, seconds: float = 60) -> str:
    """Runs Python in a process of its own: a mount that hangs must not hang the tests."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _wait(check: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def _writing(path: Path, first: str, last: str = "", times: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A process that has written `first` so many times and, when its input ends, writes `last` and closes the file."""
    code = (
        "import sys; path, first, last, times = sys.argv[1:]; file = open(path, 'w'); "
        "file.write(first * int(times)); file.flush(); print('open', flush=True); "
        "sys.stdin.read(); file.write(last * int(times)); file.close()"
    )
    command = [sys.executable, "-I", "-c", code, str(path), first, last, str(times)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            yield writer
        finally:
            writer.kill()


@pytest.mark.parametrize("profile", ["dataset", "checkpoints", "models", "shared"])
def test_every_profile_mounts_and_reads_what_is_there(account: Any, real: Path, profile: str):
    """20 MiB, larger than any block, are the same through the mount; the process stays below 400 MiB."""
    content = os.urandom(20 * MIB)
    account.pipe_file(f"data/{profile}/big.bin", content)
    with azray_lab.mount(f"az://data/{profile}", real / "m", profile=profile, engine="blobfuse2") as folder:
        code = "import sys,hashlib; print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())"
        import hashlib

        assert _child(code, str(folder.path / "big.bin")) == hashlib.sha256(content).hexdigest()
        health = folder.health()
        assert (health.state, health.engine) == ("mounted", "blobfuse2")
        assert 0 < health.memory < 400 * MIB
    assert not (real / "m").exists()
    assert mountinfo.at(real / "m") is None
    assert program.serving(str(real / "m")) == []


def test_random_reads_are_right(account: Any, real: Path):
    """Pieces out of a file in a format that is read in pieces are the file's bytes."""
    content = os.urandom(5 * MIB)
    account.pipe_file("data/columns/a.parquet", content)
    with azray_lab.mount("az://data/columns", real / "m", profile="dataset") as folder:
        assert folder.to_dict()["access"] == "random"
        code = "import sys; f=open(sys.argv[1],'rb'); f.seek(3000001); print(f.read(7).hex())"
        assert _child(code, str(folder.path / "a.parquet")) == content[3000001:3000008].hex()


def test_four_readers_at_once_get_what_is_there(account: Any, real: Path):
    """The blocks of one reader must not starve another: four large files at once, read by four processes."""
    for number in range(4):
        account.pipe_file(f"data/many/{number}", bytes([number]) * (24 * MIB))
    code = "import sys; d=open(sys.argv[1],'rb').read(); print(len(d), set(d))"
    with azray_lab.mount("az://data/many", real / "m", profile="models") as folder:
        readers = [
            subprocess.Popen([sys.executable, "-I", "-c", code, str(folder.path / str(n))], stdout=subprocess.PIPE)
            for n in range(4)
        ]
        for number, reader in enumerate(readers):
            out, _ = reader.communicate(timeout=60)
            assert out.decode().split() == [str(24 * MIB), f"{{{number}}}"]
        assert folder.health().memory < 400 * MIB


def test_many_files_open_at_once_do_not_starve_each_other(real: Path, fresh_home: Path):
    """Twelve large files, each read half and kept open, and twelve written at once: no read or write fails."""
    del fresh_home
    read = (
        "import sys,os; d=sys.argv[1]; fs=[open(os.path.join(d,str(n)),'rb',buffering=0) for n in range(12)]; "
        "print(sum(len(f.read(1<<20)) for _ in range(40) for f in fs))"
    )
    write = (
        "import sys,os; d=sys.argv[1]; fs=[open(os.path.join(d,'w%d'%n),'wb',buffering=0) for n in range(12)]; "
        "[f.write(b'w'*(1<<20)) for _ in range(24) for f in fs]; [f.close() for f in fs]"
    )
    with run_blob_server() as server:
        os.environ.update(server.environment())
        server.seed("data", "large/{}", 12, os.urandom(MIB), 64)
        with azray_lab.mount("az://data/large", real / "r", profile="models") as folder:
            assert _child(read, str(folder.path)) == str(12 * 40 * MIB)
            assert folder.health().memory < 400 * MIB
        with azray_lab.mount("az://data/runs", real / "w", profile="checkpoints") as folder:
            _child(write, str(folder.path))
            assert folder.health().memory < 400 * MIB
        files = azray_lab.filesystem("az://")
        assert [files.size(f"data/runs/w{n}") for n in range(12)] == [24 * MIB] * 12


def test_a_checkpoint_is_in_blob_when_it_is_closed_and_seen_by_others(account: Any, real: Path):
    """Written and closed through one mount, it is whole in Blob, and another mount of the container reads it."""
    write = (
        "import sys,os; d=os.path.join(sys.argv[1],'epoch-1'); os.makedirs(d); "
        "f=open(os.path.join(d,'weights'),'wb'); [f.write(b'w'*1048576) for _ in range(20)]; f.close(); "
        "open(os.path.join(d,'done'),'w').write('yes')"
    )
    read = "import sys,os; print(len(open(os.path.join(sys.argv[1],'epoch-1','weights'),'rb').read()))"
    with (
        azray_lab.mount("az://data/runs", real / "a", profile="checkpoints") as one,
        azray_lab.mount("az://data/runs", real / "b", profile="checkpoints") as other,
    ):
        _child(write, str(one.path))
        assert account.size("data/runs/epoch-1/weights") == 20 * MIB
        assert account.cat_file("data/runs/epoch-1/done") == b"yes"
        assert _child(read, str(other.path)) == str(20 * MIB)


def test_a_read_only_mount_refuses_to_write(account: Any, real: Path):
    """A data set cannot be changed by mistake."""
    account.pipe_file("data/ro/a", b"1")
    with azray_lab.mount("az://data/ro", real / "m", profile="dataset", engine="blobfuse2") as folder:
        code = "import sys\ntry: open(sys.argv[1],'w')\nexcept OSError as e: print(e.errno)"
        assert _child(code, str(folder.path / "b")) == "30"


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("AccountKey=Eby8", "AccountKey=AAAA", CredentialError, "may not be accessed with"),
        ("BlobEndpoint=http://127.0.0.1:", "BlobEndpoint=http://127.1.2.3:", StorageError, "does not answer"),
    ],
)
def test_what_the_service_refuses_is_told_in_one_line(
    account: Any, real: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, kind: type, words: str
):
    """A wrong key, an address where nobody listens: within the deadline, and nothing stays."""
    del account
    text = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    assert old in text
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text.replace(old, new))
    with pytest.raises(kind, match=words) as caught:
        azray_lab.mount("az://data", real / "m", profile="checkpoints", options={"azstorage.max-retries": 1})
    assert "\n" not in str(caught.value)
    assert not (real / "m").exists()
    assert program.serving(str(real / "m")) == []


def test_a_container_that_is_not_there_is_named(account: Any, real: Path):
    """The error names the container and how to see which there are."""
    del account
    with pytest.raises(BlobNotFoundError, match="azray blob ls") as caught:
        azray_lab.mount("az://nowhere", real / "m", profile="checkpoints")
    assert "az://nowhere" in str(caught.value)


def test_a_killed_daemon_is_stale_and_is_mended(account: Any, real: Path):
    """`Transport endpoint is not connected` is seen as stale; `mend` brings the same folder back."""
    account.pipe_file("data/mend/a", b"here")
    folder = azray_lab.mount("az://data/mend", real / "m", profile="checkpoints")
    try:
        psutil.Process(folder.health().pid).kill()
        _wait(lambda: folder.health().state == "stale", "the loss to show")
        assert "Transport endpoint" in folder.health().reason
        table = azray_lab.mounting.mend_operation().run()
        assert [one["state"] for one in table.to_dict() if one["owners"]] == ["mounted"]
        assert _child("import sys; print(open(sys.argv[1]).read())", str(folder.path / "a")) == "here"
    finally:
        folder.unmount()


def test_the_watchdog_brings_back_a_killed_daemon_and_keeps_what_it_had_not_written(account: Any, real: Path):
    """A file is open when the process is killed: the folder is back without anybody's call, the half file is kept."""
    from azray_lab.targets.base import Handle
    from azray_lab.targets.local.mounts import Mender

    account.pipe_file("data/killed/a", b"here")
    folder = azray_lab.mount("az://data/killed", real / "m", profile="checkpoints")
    code = "import sys; f=open(sys.argv[1],'wb',0); f.write(b'half'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(folder.path / "weights")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        assert _child("import sys; print(open(sys.argv[1]).read())", str(folder.path / "a")) == "here"
        first = folder.health().pid
        psutil.Process(first).kill()
        mender, handle = Mender(), Handle("c", "local", "user", {}, 0.0)  # the id of a mount's owner
        _wait(lambda: mender.look(handle), "the watchdog to see it")
        assert mender.at_work[str(folder.path)].wait(60) == 0
        assert folder.health().state == "mounted"
        assert folder.health().pid != first
        assert _child("import sys; print(open(sys.argv[1]).read())", str(folder.path / "a")) == "here"
    finally:
        writer.communicate(timeout=30)
        folder.unmount()
    [kept] = azray_lab.mounting.unwritten(folder.path)
    assert [(path.name, path.read_bytes()) for path in Path(kept.folder).iterdir()] == [("weights", b"half")]


def test_a_stale_mount_of_somebody_is_cleared_by_a_new_one(account: Any, real: Path, azray_home: Path):
    """After a crash that lost our records, too, the same call mounts again."""
    account.pipe_file("data/stale/a", b"here")
    lost = azray_lab.mount("az://data/stale", real / "m", profile="checkpoints")
    psutil.Process(lost.health().pid).kill()
    _wait(lambda: not probe.answers(lost.path).ok, "the loss to show")
    os.environ["AZRAY_HOME"] = str(azray_home)
    with azray_lab.mount("az://data/stale", real / "m", profile="checkpoints") as folder:
        assert folder.health().state == "mounted"


def test_unmount_waits_for_a_file_and_then_everything_is_in_blob(account: Any, real: Path):
    """While another process writes, `unmount` waits; what it wrote is in Blob when `unmount` returns."""
    folder = azray_lab.mount("az://data/late", real / "m", profile="shared")
    with _writing(folder.path / "late.txt", "late") as writer:
        with pytest.raises(MountError, match=rf"late\.txt in .* \(pid {writer.pid}\)"):
            folder.unmount(wait=0.2)
        operation = azray_lab.mounting.unmount_operation(folder.path, wait=60).start()
        _wait(lambda: any(e.kind == "waiting" for e in operation.events) or operation.done, "the wait to be told")
        assert not operation.done
        writer.communicate(timeout=30)
        assert operation.result(timeout=60)
    assert account.cat_file("data/late/late.txt") == b"late"


def test_what_is_open_at_a_lazy_unmount_is_in_blob_after_its_close(account: Any, real: Path):
    """The folder goes at once, the process and its cache stay until the file is closed, and then all of it is there."""
    folder = azray_lab.mount("az://data/lazy", real / "m", profile="checkpoints", cache=real / "nvme")
    with _writing(folder.path / "weights", "1", "2", times=MIB) as writer:
        folder.unmount(lazy=True)
        assert mountinfo.at(real / "m") is None
        assert {one["state"] for one in azray_lab.mounts().to_dict() if one["owners"]} == {"ending"}
        writer.communicate(timeout=30)
        assert writer.returncode == 0
        _wait(lambda: not program.serving(str(real / "m")), "blobfuse2 to end")
    assert account.cat_file("data/lazy/weights") == b"1" * MIB + b"2" * MIB
    assert not [one for one in azray_lab.mounts().to_dict() if one["owners"]]
    assert not list((real / "nvme" / "azray-mounts").iterdir())


@pytest.mark.slow
def test_a_mount_that_is_silent_is_said_to_be_and_can_be_given_up(account: Any, real: Path):
    """A daemon that is stopped answers nobody: health says so in seconds, and only a lazy unmount takes it away."""
    account.pipe_file("data/silent/a", b"1")
    folder = azray_lab.mount("az://data/silent", real / "m", profile="checkpoints")
    psutil.Process(folder.health().pid).suspend()
    began = time.monotonic()
    assert folder.health().state == "silent"
    with pytest.raises(MountError, match="does not answer"):
        folder.unmount()
    with pytest.raises(MountError, match="its process lives"):
        azray_lab.mount("az://data/silent", real / "m", profile="checkpoints")
    folder.unmount(lazy=True)
    assert time.monotonic() - began < 60
    assert mountinfo.at(real / "m") is None
    assert program.serving(str(real / "m")) == []


def test_a_server_that_dies_does_not_hang_us(account: Any, real: Path):
    """With the service gone, health and a lazy unmount answer within their deadlines."""
    from azray_lab.testing.azurite import run_azurite

    del account
    before = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    with run_azurite() as short:
        os.environ.update(short.environment())
        short.container("data")
        folder = azray_lab.mount("az://data", real / "m", profile="shared")
    try:
        began = time.monotonic()
        assert folder.health().state in {"mounted", "silent"}
        folder.unmount(lazy=True)
        assert time.monotonic() - began < 60
        assert mountinfo.at(real / "m") is None
    finally:
        os.environ["AZURE_STORAGE_CONNECTION_STRING"] = before
        for process in program.serving(str(real / "m")):
            process.kill()


def test_tuning_measures_and_recommends(account: Any, real: Path):
    """Each candidate has figures, the recommendation is the best of them, and nothing of it stays mounted."""
    del real
    for number in range(60):
        account.pipe_file(f"data/tune/{number}", b"x" * 2000)
    account.pipe_file("data/tune/large", os.urandom(4 * MIB))
    advice = azray_lab.mounting.tune_operation("az://data/tune", seconds=8).run()
    data = advice.to_dict()
    assert data["measure"] == "files"
    assert not [one["problem"] for one in data["measured"] if one["problem"]]
    best = max(data["measured"], key=lambda one: one["files"])
    assert {name: best[name] for name in ("profile", "engine", "access")} == data["recommended"]
    assert all(one["sequential"] > 0 and one["random"] > 0 for one in data["measured"])
    assert not [there for there in mountinfo.read() if "tune-" in there.path]
