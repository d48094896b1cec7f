"""The file system under the libraries that use it, and what it costs: fsspec, pandas, pyarrow, and counted requests."""

from __future__ import annotations

import io
import json
import pickle
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FSSpecHandler, PyFileSystem

import azray_lab
from azray_lab import blob
from azray_lab.errors import CredentialError, StorageError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.credentials import Account, credentials
from azray_lab.storage.filesystem import BlobFileSystem, filesystem, take_over

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite
    from azray_lab.testing.blob_server import BlobServer

pytestmark = pytest.mark.azurite

_GROUPS = 1000


def _requests(server: BlobServer) -> int:
    return sum(count for kind, count in server.counts().items() if not kind.startswith("from "))


# Libraries.


def test_fsspec_opens_urls_with_nothing_but_the_environment(files: AbstractFileSystem, azurite: Azurite):
    """`azray://` is registered; a URL that names its account works as well."""
    with fsspec.open("azray://data/a/b.txt", "w") as file:
        file.write("hello")
    assert files.cat_file("data/a/b.txt") == b"hello"
    address = azurite.blob_endpoint.removeprefix("http://")
    with fsspec.open(f"azray://data@{address}/a/b.txt", connection_string=azurite.connection_string) as file:
        assert file.read() == b"hello"


def test_az_and_abfs_can_be_taken_over(files: AbstractFileSystem, monkeypatch: pytest.MonkeyPatch):
    """Only when asked for; then pandas reads and writes all three through it, and URLs that name the account work."""
    known = sys.modules["fsspec.registry"]._registry
    frame = pd.DataFrame({"a": [1], "b": [2]})
    address = files.account.endpoint.partition("://")[2]
    for protocol in ("az", "abfs", "abfss"):
        monkeypatch.delitem(known, protocol, raising=False)
        assert not issubclass(fsspec.get_filesystem_class(protocol), BlobFileSystem)
        take_over(protocol)
        frame.to_csv(f"{protocol}://data/{protocol}.csv", index=False)
        assert files.exists(f"data/{protocol}.csv")
        opened, path = fsspec.core.url_to_fs(f"{protocol}://data@{address}/{protocol}.csv")
        assert (type(opened), path) == (BlobFileSystem, f"data/{protocol}.csv")
        assert pd.read_csv(f"{protocol}://data@{address}/{protocol}.csv").equals(frame)


def test_pandas_writes_and_reads(files: AbstractFileSystem):
    """CSV and Parquet, by URL and by an open file."""
    frame = pd.DataFrame({"x": range(1000), "y": [f"ü{n}" for n in range(1000)]})
    frame.to_csv("azray://data/pandas/x.csv", index=False)
    frame.to_parquet("azray://data/pandas/x.parquet")
    assert pd.read_csv("azray://data/pandas/x.csv").equals(frame)
    assert pd.read_parquet("azray://data/pandas/x.parquet", columns=["y"]).equals(frame[["y"]])
    with files.open("data/pandas/x.parquet") as file:
        assert pd.read_parquet(file).equals(frame)


def test_pyarrow_uses_it_for_data_sets(files: AbstractFileSystem):
    """A partitioned data set is written and read with a filter; native `PyFileSystem` in between."""
    table = pa.table({"part": [0, 0, 1, 1], "value": [1, 2, 3, 4]})
    arrow = PyFileSystem(FSSpecHandler(files))
    pq.write_to_dataset(table, "data/set", partition_cols=["part"], filesystem=arrow)
    found = pq.read_table("data/set", filesystem=arrow, filters=[("part", "=", 1)])
    assert sorted(found["value"].to_pylist()) == [3, 4]
    assert pq.read_table("data/set", filesystem=files).num_rows == 4


def test_the_public_name_gives_it(files: AbstractFileSystem):
    """`azray_lab.filesystem` is the door, also with credentials of a program."""
    files.pipe_file("data/door", b"1")
    own = credentials(connection_string=files.account.connection_string, environ={})
    assert azray_lab.filesystem("az://data", credentials=own).cat_file("data/door") == b"1"


# What is asked of the service.


def test_a_thousand_row_groups_cost_no_more_requests_than_ranges(on_counted: AbstractFileSystem, counted: BlobServer):
    """One column of 1,000 row groups, read one by one: a request for each range at most, and one look."""
    rows = 500
    table = pa.table({name: pa.array(range(rows), pa.int64()) for name in ("a", "b", "c", "d")})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(_GROUPS):
            writer.write_table(table)
    on_counted.pipe_file("data/groups.parquet", sink.getvalue())
    counted.faults()
    with on_counted.open("data/groups.parquet") as file:
        parquet = pq.ParquetFile(file)
        assert parquet.num_row_groups == _GROUPS
        total = sum(parquet.read_row_group(number, columns=["b"]).num_rows for number in range(_GROUPS))
    assert total == _GROUPS * rows
    counts = counted.counts()
    # The footer is two reads; then one range for each row group.
    assert counts["GET"] <= _GROUPS + 2
    assert _requests(counted) <= _GROUPS + 4
    # All by pyarrow itself, as Ray Data reads.
    counted.faults()
    arrow = PyFileSystem(FSSpecHandler(on_counted))
    assert pq.read_table("data/groups.parquet", columns=["b"], filesystem=arrow).num_rows == _GROUPS * rows
    assert _requests(counted) <= _GROUPS + 4


def test_reads_that_follow_each_other_are_joined(on_counted: AbstractFileSystem, counted: BlobServer):
    """Ten MiB in lines of 1 KiB: a handful of requests, and each byte once."""
    content = bytes(range(256)) * 4 * 10 * 1024
    on_counted.pipe_file("data/lines", content)
    counted.faults()
    with on_counted.open("data/lines") as file:
        assert b"".join(iter(lambda: file.read(1024), b"")) == content
    assert counted.counts()["GET"] <= 12


def test_a_small_read_in_a_large_blob_is_small(on_counted: AbstractFileSystem, counted: BlobServer):
    """A jump brings 64 KiB, not blocks of MiB."""
    on_counted.pipe_file("data/large", bytes(8 * 2**20))
    counted.faults()
    with on_counted.open("data/large") as file:
        for offset in range(0, 8 * 2**20, 2**20):
            file.seek(offset + 1000)
            assert file.read(100) == bytes(100)
        assert file.cache.total_requested_bytes <= 8 * 64 * 1024
    assert counted.counts()["GET"] == 8


def test_looking_costs_one_request(on_counted: AbstractFileSystem, counted: BlobServer):
    """`info` of a blob, `ls` and `find` of a folder: one each."""
    counted.seed("data", "many/{}", 1500, b"x")
    for look, expected in (
        (lambda: on_counted.info("data/many/7")["size"], 1),
        (lambda: len(on_counted.ls("data/many", detail=False)), 1500),
        (lambda: len(on_counted.find("data/many")), 1500),
    ):
        counted.faults()
        assert look() == expected
        assert _requests(counted) == 1


def test_many_small_blobs_at_once(on_counted: AbstractFileSystem, counted: BlobServer, tmp_path: Path):
    """`cat`, `get`, `put` and `pipe` of 300 blobs: one request for each blob, and few more."""
    names = [f"data/bulk/{number}" for number in range(300)]
    on_counted.pipe({name: name.encode() for name in names})
    counted.faults()
    assert on_counted.cat(names) == {name: name.encode() for name in names}
    assert counted.counts()["GET"] == 300
    on_counted.get("data/bulk", str(tmp_path / "down"), recursive=True)
    assert len(list((tmp_path / "down").iterdir())) == 300
    on_counted.put(str(tmp_path / "down"), "data/again", recursive=True)
    assert len(on_counted.find("data/again")) == 300
    ranges = on_counted.cat_ranges(names, 0, 4)
    assert ranges == [b"data"] * 300


# Edges.


def test_the_account_lists_its_containers(files: AbstractFileSystem, azurite: Azurite):
    """With and without details, however the root is written."""
    azurite.container("other")
    for root in ("", "/", "az://"):
        assert {"data", "other"} <= set(files.ls(root, detail=False))
        assert {"name": "data", "size": None, "type": "directory"} in files.ls(root, detail=True)
    assert files.isdir("data")
    assert not files.exists("nowhere")


def test_a_file_that_fails_leaves_nothing(files: AbstractFileSystem):
    """An error inside the `with` block, also after blocks were sent: no blob, and the old one stays."""

    def fail(size: int) -> None:
        with files.open("data/half", "wb", block_size=2**20) as file:
            file.write(bytes(size))
            raise RuntimeError("half way")

    for size in (3, 3 * 2**20):
        with pytest.raises(RuntimeError, match="half way"):
            fail(size)
        assert not files.exists("data/half")
    files.pipe_file("data/half", b"old")
    with pytest.raises(RuntimeError, match="half way"):
        fail(3)
    assert files.cat_file("data/half") == b"old"


def test_a_failed_block_leaves_the_old_blob(on_counted: AbstractFileSystem, counted: BlobServer):
    """Told by the write that finds it and again by `close`, however many blocks came after it: never with a hole."""
    on_counted.pipe_file("data/whole", b"old")
    rule = {"method": "PUT", "path": "comp=block&", "status": 403, "code": "AuthorizationFailure", "times": 1}
    counted.faults(rule)
    file = on_counted.open("data/whole", "wb", block_size=2**18)

    def write() -> None:
        for _ in range(8):
            file.write(bytes(2**18))

    with pytest.raises(CredentialError):
        write()
    with pytest.raises(CredentialError):
        file.close()
    assert "PUT blocklist" not in counted.counts()
    assert on_counted.cat_file("data/whole") == b"old"


@pytest.mark.parametrize("size", [10, 20 * 2**20])
def test_a_file_that_is_cut_while_it_is_put(files: AbstractFileSystem, tmp_path: Path, size: int):
    """An error and no blob; bytes of a file that others cut are never waited for in its memory."""
    path = tmp_path / "cut"
    path.write_bytes(bytes(size))

    class Cut(fsspec.callbacks.Callback):  # type: ignore[misc]  # fsspec has no types
        def set_size(self, size: int) -> None:
            super().set_size(size)
            path.write_bytes(b"short")

    with pytest.raises(StorageError, match="changed while it was being read"):
        files.put_file(str(path), "data/cut", callback=Cut())
    assert not files.exists("data/cut")
    with pytest.raises(FileNotFoundError):
        files.put_file(str(tmp_path / "none"), "data/cut")


def test_an_upload_with_a_hole_is_not_committed(on_counted: AbstractFileSystem, counted: BlobServer):
    """The engine looks at the parts before it makes the blob of them."""
    upload = on_counted.engine("data").upload("data", "hole")
    upload.write(0, b"12")
    upload.write(3, b"4")
    with pytest.raises(StorageError, match="end at byte 2, the next one begins at 3"):
        upload.finish()
    upload.write(2, b"3")
    upload.finish()
    assert on_counted.cat_file("data/hole") == b"1234"
    del counted


def test_a_blob_that_changes_while_it_is_read_is_an_error(files: AbstractFileSystem):
    """Never bytes of two versions."""
    files.pipe_file("data/changing", bytes(3 * 2**20))
    with files.open("data/changing") as file:
        assert file.read(100) == bytes(100)
        files.pipe_file("data/changing", b"\1" * 3 * 2**20)
        with pytest.raises(StorageError, match="changed"):
            file.read()


def test_slices_of_a_blob(files: AbstractFileSystem):
    """Ranges as Python's slices have them, also from the end and beyond it."""
    files.pipe_file("data/slices", b"0123456789")
    for start, end in ((2, 5), (None, 3), (-3, None), (4, -2), (8, 100), (5, 5), (7, 3), (-100, 2)):
        assert files.cat_file("data/slices", start, end) == b"0123456789"[start:end], (start, end)


def test_removing(files: AbstractFileSystem):
    """Folders need `recursive`; what is not there is told; names with odd characters go too."""
    names = ["data/rm/a b", "data/rm/100%?x", "data/rm/deep/er/z"]
    files.pipe(dict.fromkeys(names, b"x"))
    with pytest.raises(IsADirectoryError):
        files.rm("data/rm")
    with pytest.raises(FileNotFoundError):
        files.rm("data/rm/none")
    files.rm("data/rm/a b")
    assert sorted(files.find("data/rm")) == sorted(names[1:])
    files.rm("data/rm", recursive=True)
    assert not files.exists("data/rm")


def _travelled(files: AbstractFileSystem) -> Any:
    return pickle.loads(pickle.dumps(files))  # noqa: S301 - made a moment ago


def test_what_travels_in_a_pickle(azurite: Azurite):
    """A key does; an identity and its secret do not, the other process has its own."""
    keyed = filesystem("az://data", environ=azurite.environment())
    assert _travelled(keyed).account == keyed.account
    secret = "s3cret-of-the-app"
    own = credentials(tenant="t", client_id="app", client_secret=secret, account="acc", environ={})
    files = filesystem("az://data", credentials=own)
    assert secret.encode() not in pickle.dumps(files)
    assert _travelled(files).account.endpoint == "https://acc.blob.core.windows.net"
    assert secret not in f"{files!r} {files.account!r} {files.storage_options!r} {json.dumps(repr(files))}"


def test_a_pickle_on_a_cluster_is_sealed(azurite: Azurite, monkeypatch: pytest.MonkeyPatch):
    """Ray and Tune keep pickles in files: with a cluster's token no key is in them, and another cannot open them."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    files = filesystem("az://data", environ=azurite.environment())
    content = pickle.dumps(files)
    assert azurite.key.encode() not in content
    assert pickle.loads(content).account == files.account  # noqa: S301 - made a moment ago
    monkeypatch.setenv("RAY_AUTH_TOKEN", "u" * 64)
    monkeypatch.setenv("AZURE_STORAGE_AUTH_MODE", "anonymous")
    assert pickle.loads(content).account.mode == "anonymous"  # noqa: S301 - the same


def test_other_secrets_are_another_file_system(azurite: Azurite):
    """Fsspec keeps instances by the text of their arguments; a mended key must not get the old one's."""
    wrong = {**azurite.environment()}
    wrong["AZURE_STORAGE_CONNECTION_STRING"] = azurite.connection_string.replace(azurite.key, "d3Jvbmc=")
    first = filesystem("az://data", environ=wrong)
    assert filesystem("az://data", environ=azurite.environment()) is not first
    assert filesystem("az://data", environ=wrong) is first


def test_adlfs_names_of_credentials(azurite: Azurite):
    """Who comes from adlfs keeps the storage options, but for credential objects."""
    files = BlobFileSystem(azurite.blob_endpoint, account_name=azurite.account, account_key=azurite.key)
    azurite.container("data")
    files.pipe_file("data/adlfs", b"1")
    assert BlobFileSystem(connection_string=azurite.connection_string).cat_file("data/adlfs") == b"1"
    with pytest.raises(UsageError, match="credential="):
        BlobFileSystem(connection_string=azurite.connection_string, credential=object())
    assert Account.of(BlobUri.parse("az://anonymous@acc.blob.core.windows.net/data")).mode == "anonymous"


def test_a_public_container_without_a_credential(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`anon=True`, or nothing at all: the last resort of the order."""
    from azure.storage.blob import BlobServiceClient

    monkeypatch.setenv("PATH", str(tmp_path))  # nobody is signed in here
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container("open", public_access="container").upload_blob("x", b"public")
    asked: dict[str, Any] = {"anon": True}
    assert BlobFileSystem(azurite.blob_endpoint, **asked).cat_file("open/x") == b"public"
    assert filesystem(f"{azurite.blob_endpoint}/open").cat_file("open/x") == b"public"


def test_the_verbs_read_a_public_container_too(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What `azray blob` is built on finds the same last resort."""
    from azure.storage.blob import BlobServiceClient

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container("shown", public_access="container").upload_blob("x", b"public")
    found = blob.list_blobs(f"{azurite.blob_endpoint}/shown", environ={}).to_dict()
    assert [entry["size"] for entry in found] == [6]


def test_the_rest_of_fsspec_and_of_adlfs(files: AbstractFileSystem):
    """What has no engine under it works as before: times, globs, walks, moves, sums, signed addresses."""
    files.pipe({"data/rest/a.txt": b"1", "data/rest/sub/b.txt": b"22"})
    assert files.glob("data/rest/**/*.txt") == ["data/rest/a.txt", "data/rest/sub/b.txt"]
    assert [(path, dirs, names) for path, dirs, names in files.walk("data/rest")] == [
        ("data/rest", ["sub"], ["a.txt"]),
        ("data/rest/sub", [], ["b.txt"]),
    ]
    assert files.du("data/rest") == 3
    files.mv("data/rest/a.txt", "data/rest/c.txt")
    assert files.ls("data/rest", detail=False) == ["data/rest/c.txt", "data/rest/sub"]
    files.touch("data/rest/empty")
    assert files.size("data/rest/empty") == 0
    assert files.created("data/rest/c.txt") <= files.modified("data/rest/c.txt")
    with urllib.request.urlopen(files.sign("data/rest/c.txt"), timeout=10) as answer:  # noqa: S310 - loopback
        assert answer.read() == b"1"
    for _ in range(2):  # an append blob, as adlfs makes it
        with files.open("data/rest/log", "ab") as file:
            file.write(b"line;")
    assert files.cat_file("data/rest/log") == b"line;line;"
    files.setxattrs("data/rest/c.txt", owner="me")
    assert files.getxattr("data/rest/c.txt", "owner") == "me"
