"""Files that are written: an error leaves what was there before whoever closes the file, transactions, and blocks."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azray_lab.errors import CredentialError, UsageError
from azray_lab.storage.filesystem import filesystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite
    from azray_lab.testing.blob_server import BlobServer

pytestmark = pytest.mark.azurite

_MiB = 2**20
_TABLE = pa.table({"a": [1]})


@pytest.fixture
def files(files: AbstractFileSystem) -> AbstractFileSystem:
    """The same, with the blob `data/old`."""
    files.pipe_file("data/old", b"old")
    return files


class _Unwritable:
    """What no library can write."""

    def __str__(self) -> str:
        raise RuntimeError("half way")

    __repr__ = __str__
    __reduce__ = __str__


def _fails(opened: Any, content: Any) -> None:
    with opened as file:
        file.write(content)
        raise RuntimeError("half way")


def _fails_in_many() -> None:
    with fsspec.open_files(["azray://data/old"], "wb") as (file,):
        file.write(b"new")
        raise RuntimeError("half way")


def _fails_in_parquet(files: AbstractFileSystem) -> None:
    with pq.ParquetWriter("data/old", _TABLE.schema, filesystem=files) as writer:
        writer.write_table(_TABLE)
        raise RuntimeError("half way")


_FRAME = pd.DataFrame({"a": [1, _Unwritable()]})
# Whoever opens, wraps and closes the file.
_FAILURES: dict[str, Callable[[AbstractFileSystem], Any]] = {
    "bytes": lambda files: _fails(files.open("data/old", "wb"), b"new"),
    "text": lambda files: _fails(files.open("data/old", "w", encoding="utf-16", newline="\r\n"), "new"),
    "compressed": lambda files: _fails(files.open("data/old", "wb", compression="gzip"), b"new"),
    "compressed text": lambda files: _fails(files.open("data/old", "wt", compression="bz2"), "new"),
    "zipped": lambda files: _fails(files.open("data/old", "wb", compression="zip"), b"new"),
    "with metadata": lambda files: _fails(files.open("data/old", "wb", metadata={"a": "b"}), b"new"),
    "several blocks of text": lambda files: _fails(files.open("data/old", "w", block_size=100), "new" * 1000),
    "fsspec.open": lambda _: _fails(fsspec.open("azray://data/old", "wb"), b"new"),
    "fsspec.open, blocks": lambda _: _fails(fsspec.open("azray://data/old", "wb"), bytes(17 * _MiB)),
    "fsspec.open, text": lambda _: _fails(fsspec.open("azray://data/old", "wt"), "new"),
    "fsspec.open, compressed": lambda _: _fails(fsspec.open("azray://data/old", "wt", compression="gzip"), "new"),
    "fsspec.open_files": lambda _: _fails_in_many(),
    "pandas, csv": lambda _: _FRAME.to_csv("azray://data/old"),
    "pandas, csv.gz": lambda _: _FRAME.to_csv("azray://data/old", compression="gzip"),
    "pandas, zip": lambda _: _FRAME.to_csv("azray://data/old", compression="zip"),
    "pandas, pickle": lambda _: _FRAME.to_pickle("azray://data/old"),
    "pandas, feather": lambda _: _FRAME.to_feather("azray://data/old"),
    "pandas, parquet": lambda _: pd.DataFrame({"a": [1]}).to_parquet("azray://data/old", compression="none!"),
    "pyarrow, parquet": _fails_in_parquet,
    "pyarrow, refused": lambda files: pq.write_table(_TABLE, "data/old", filesystem=files, compression={"a": "none!"}),
    "text in a transaction": lambda files: _fails_in_a_transaction(files, "w", "new"),
}


def _fails_in_a_transaction(files: AbstractFileSystem, mode: str, content: Any) -> None:
    with files.transaction, files.open("data/old", mode) as file:
        file.write(content)
        raise RuntimeError("half way")


@pytest.mark.parametrize("how", _FAILURES)
def test_an_error_leaves_what_was_there(files: AbstractFileSystem, how: str):
    """By whatever wrapper the bytes come, and whoever closes the file."""
    with pytest.raises((RuntimeError, TypeError, pa.ArrowException)):
        _FAILURES[how](files)
    assert files.cat_file("data/old") == b"old"
    assert not files._intrans


def test_closing_means_what_it_says(files: AbstractFileSystem):
    """In an `except` or `finally` clause, in a `with` block that ends well inside one, without any `with`."""
    file = files.open("data/closed", "wb")
    try:
        raise StopIteration
    except StopIteration:
        file.write(b"in except")
        file.close()
    assert files.cat_file("data/closed") == b"in except"
    try:
        raise KeyError
    except KeyError:
        with fsspec.open("azray://data/report", "w") as report:
            report.write("it failed")
    assert files.cat_file("data/report") == b"it failed"
    json.dump([1], files.open("data/dropped", "w"))
    files.open("data/never", "wb").write(b"never closed")
    assert files.cat(["data/dropped", "data/never"]) == {"data/dropped": b"[1]", "data/never": b"never closed"}


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz", "zip"])
def test_compressed_files_come_back(files: AbstractFileSystem, compression: str):
    """Bytes and text, and the blob is there as soon as the block ends."""
    path = f"data/packed.{compression}"
    with files.open(path, "w", compression=compression) as file:
        file.write("text " * 1000)
    with files.open(path, "r", compression=compression) as file:
        assert file.read() == "text " * 1000
    assert files.size(path) < (1000 if compression != "zip" else 6000)  # fsspec's zip only stores


def test_a_compressed_file_that_is_refused_is_told(on_counted: AbstractFileSystem, counted: BlobServer):
    """By the end of the block, and not swallowed by the collector."""
    counted.faults({"method": "PUT", "path": "/refused", "status": 403, "code": "AuthorizationFailure"})
    with pytest.raises(CredentialError), on_counted.open("data/refused", "wb", compression="gzip") as file:
        file.write(b"x")
    assert not on_counted.exists("data/refused")


def test_what_a_blob_is_called_besides(files: AbstractFileSystem):
    """The `metadata` and `content_settings` of adlfs, for small and large blobs."""
    for size in (3, 300):
        settings = {"content_type": "text/x-own", "cache_control": "no-cache"}
        with files.open("data/told", "wb", 100, metadata={"owner": "me"}, content_settings=settings) as file:
            file.write(bytes(size))
        found = files.info("data/told")
        assert (found["size"], found["metadata"]) == (size, {"owner": "me"})
        assert found["content_settings"]["content_type"] == "text/x-own"
        assert found["content_settings"]["cache_control"] == "no-cache"


def test_only_what_was_appended_grows(files: AbstractFileSystem):
    """A blob that was written as a whole is left as it is, and its user told; logs grow line by line."""
    with pytest.raises(UsageError, match="written as a whole"):
        files.open("data/old", "ab")
    with pytest.raises(UsageError, match="written as a whole"):
        pd.DataFrame({"a": [1]}).to_csv("azray://data/old", mode="a")
    for line in "12":
        with files.open("data/log.txt", "a") as file:
            file.write(line)
    assert files.cat_file("data/log.txt") == b"12"


def test_metadata_of_a_blob(files: AbstractFileSystem, azurite: Azurite):
    """All is set anew; what is missing and what is refused are told as what they are."""
    files.setxattrs("data/old", owner="me", project="x")
    files.setxattrs("data/old", owner="you")
    assert files.info("data/old")["metadata"] == {"owner": "you"}
    with pytest.raises(FileNotFoundError):
        files.setxattrs("data/none", owner="me")
    wrong = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string.replace(azurite.key, "d3Jvbmc=")}
    with pytest.raises(CredentialError):
        filesystem(environ=wrong).setxattrs("data/old", owner="me")


# Transactions.


def test_a_transaction_shows_its_files_at_its_end(files: AbstractFileSystem):
    """None of them before, all of them afterwards: small, empty, of several blocks, text, compressed, not closed."""
    with files.transaction:
        with files.open("data/t/small", "wb") as file:
            file.write(b"small")
        files.open("data/t/empty", "wb").close()
        with files.open("data/t/large", "wb", block_size=_MiB) as file:
            file.write(bytes(3 * _MiB + 5))
        with files.open("data/t/text", "w") as text:
            text.write("text")
        with files.open("data/t/packed", "w", compression="gzip") as text:
            text.write("packed")
        files.open("data/t/open", "wb").write(b"open")
        with files.open("data/old", "wb") as file:
            file.write(b"new")
        assert files.find("data/t") == []
        assert files.cat_file("data/old") == b"old"
    sizes = {name.rpartition("/")[2]: info["size"] for name, info in files.find("data/t", detail=True).items()}
    packed = sizes.pop("packed")
    assert sizes == {"small": 5, "empty": 0, "large": 3 * _MiB + 5, "text": 4, "open": 4}
    assert packed
    assert gzip.decompress(files.cat_file("data/t/packed")) == b"packed"
    assert files.cat_file("data/old") == b"new"


def test_a_transaction_that_fails_shows_nothing(files: AbstractFileSystem):
    """Also not what was closed before the error; the next file is written at once again."""

    def fail() -> None:
        with files.transaction:
            for name, mode in (("data/old", "wb"), ("data/rolled", "wb")):
                with files.open(name, mode) as file:
                    file.write(b"new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert files.cat_file("data/old") == b"old"
    assert not files.exists("data/rolled")
    with files.open("data/rolled", "wb") as file:
        file.write(b"1")
    assert files.exists("data/rolled")


def test_a_file_that_failed_is_not_in_its_transaction(files: AbstractFileSystem):
    """The program went on after its error; the others are written."""
    with files.transaction:
        with pytest.raises(RuntimeError):
            _fails(files.open("data/old", "w"), "new")
        with pytest.raises(UsageError, match="appended"):
            files.open("data/log", "ab")
        with files.open("data/other", "wb") as file:
            file.write(b"1")
    assert files.cat(["data/old", "data/other"]) == {"data/old": b"old", "data/other": b"1"}


# Blocks.


def test_one_large_write_goes_in_blocks(on_counted: AbstractFileSystem, counted: BlobServer):
    """A hundred MiB at once: thirteen blocks, of which few are copies in memory at any time."""
    content = memoryview(bytes(100 * _MiB))
    tracemalloc.start()
    try:
        with on_counted.open("data/large", "wb") as file:
            assert file.write(content) == 100 * _MiB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    counts = counted.counts()
    assert (counts["PUT block"], counts["PUT blocklist"]) == (13, 1)
    assert peak < 64 * _MiB
    assert on_counted.size("data/large") == 100 * _MiB


def test_writes_of_any_size_and_kind(files: AbstractFileSystem):
    """Buffers of larger items, empty ones, and pieces that end on a block's border or cross it."""
    expected = io.BytesIO()
    with files.open("data/pieces", "wb", block_size=1000) as file:
        for size in (0, 1, 999, 1000, 2500, 7, 0, 993):
            piece = bytes([size % 251]) * size
            assert file.write(piece) == expected.write(piece)
        assert file.write(pa.py_buffer(b"arrow")) == expected.write(b"arrow")
        assert file.write(memoryview(bytes(800)).cast("d")) == expected.write(bytes(800))
        assert file.tell() == expected.tell()
    assert files.cat_file("data/pieces") == expected.getvalue()
