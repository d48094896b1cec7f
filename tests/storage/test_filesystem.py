"""The fsspec file system on a real Blob service: reads, writes, odd names, and the way to another process."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from azray_lab.errors import CredentialError, UsageError
from azray_lab.storage.filesystem import filesystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite

pytestmark = [
    pytest.mark.azurite,
    # aiohttp dislikes how the SDK hands it a body of more than 1 MiB.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


@pytest.fixture
def files(azurite: Azurite) -> AbstractFileSystem:
    """A file system on the module's server, with the container `data`."""
    azurite.container("data")
    return filesystem("az://data", environ=azurite.environment())


@pytest.mark.parametrize("name", ["plain.txt", "a b/c%20d.txt", "ünï/日本.txt", "100%?x=1#y", "deep/" * 20 + "x"])
def test_what_is_written_is_read_back(files: AbstractFileSystem, name: str):
    """Names go through as they are, whether given as a path or as a URI."""
    files.pipe_file(f"az://data/{name}", name.encode())
    assert files.cat_file(f"data/{name}") == name.encode()
    assert f"data/{name}" in files.find("data")


def test_a_large_file_goes_through_open(files: AbstractFileSystem):
    """A buffered write of several blocks comes back whole, and can be read from its middle."""
    content = os.urandom(6_000_000)
    with files.open("data/large.bin", "wb", block_size=1_000_000) as file:
        file.write(content)
    with files.open("az://data/large.bin") as file:
        file.seek(3_000_000)
        assert file.read() == content[3_000_000:]


def test_another_writers_blob_is_seen(files: AbstractFileSystem, azurite: Azurite):
    """Listings are not cached, for Ray's workers write what the driver then looks for."""
    files.pipe_file("data/seen/first", b"1")
    assert files.ls("data/seen", detail=False) == ["data/seen/first"]
    other = filesystem(environ=azurite.environment(), max_concurrency=2)
    other.pipe_file("data/seen/second", b"2")
    assert files.ls("data/seen", detail=False) == ["data/seen/first", "data/seen/second"]


def test_it_can_be_pickled_to_a_process_without_the_environment(files: AbstractFileSystem):
    """As Ray does with a data set's tasks: the worker needs no variable of its own."""
    files.pipe_file("data/pickled", b"there")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).cat_file('data/pickled').decode())"
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(files), capture_output=True, env=bare, check=False
    )
    assert done.stdout.decode().strip() == "there", done.stderr.decode()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # since Python 3.12, where threads run
def test_a_forked_child_uses_it(files: AbstractFileSystem):
    """As torch's data loaders do: reads, opens, lists, writes, and what is adlfs's; the parent goes on as before."""
    files.pipe({"data/fork/a": b"0123456789", "data/fork/b": b"b"})
    child = os.fork()
    if not child:  # pragma: no cover - another process
        status = 1
        try:
            signal.alarm(60)
            _use_it(files)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert files.cat(["data/fork/c", "data/fork/a"]) == {"data/fork/c": b"of the child", "data/fork/a": b"0123456789"}
    assert files.getxattr("data/fork/b", "owner") == "child"


def _use_it(files: AbstractFileSystem) -> None:
    assert files.cat_file("data/fork/a") == b"0123456789"
    with files.open("data/fork/a") as file:
        file.seek(4)
        assert file.read(3) == b"456"
    assert len(files.ls("data/fork")) == 2
    with files.open("data/fork/c", "wb") as file:
        file.write(b"of the child")
    files.setxattrs("data/fork/b", owner="child")


def test_its_repr_holds_no_secret(files: AbstractFileSystem, azurite: Azurite):
    """The key is neither in the file system's text nor in that of its account."""
    assert azurite.key not in f"{files} {files!r} {files.account!r}"


def test_another_accounts_address_is_refused(files: AbstractFileSystem):
    """A path that names an account is not read from this one."""
    with pytest.raises(UsageError, match="its own account"):
        files.ls("https://other.blob.core.windows.net/data")


def test_without_an_account_there_is_none():
    """No variable and no address: a CredentialError that says what to set."""
    with pytest.raises(CredentialError, match="AZURE_STORAGE_CONNECTION_STRING"):
        filesystem("az://data", environ={})


def test_a_missing_file_is_fsspecs_error(files: AbstractFileSystem):
    """Libraries on top of fsspec wait for FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        files.info("data/not-there")
