"""Odd names and paths: slashes in a row and at the end, patterns of containers, paths without a scheme, `..`."""

from __future__ import annotations

import errno
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from azure.storage.blob import generate_container_sas

from azray_lab.errors import CredentialError, StorageError, UsageError
from azray_lab.storage.filesystem import filesystem
from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite

_TREE = ("data/odd/a", "data/odd//b", "data/odd//deep/c", "data/odd///d", "data/odd/deep/e", "data//top")


@pytest.fixture
def odd(files: AbstractFileSystem) -> AbstractFileSystem:
    """The same, with names that have slashes in a row."""
    files.pipe({name: name.encode() for name in _TREE})
    return files


# Slashes in a row.


def test_slashes_in_a_row_are_found_under_their_names(odd: AbstractFileSystem):
    """By every way of looking, each blob once, and never a folder in itself."""
    below = sorted(name for name in _TREE if "/odd/" in name)
    assert sorted(odd.find("data/odd")) == below
    assert sorted(odd.find("data/odd", maxdepth=5)) == below
    assert sorted(one for one in odd.glob("data/odd/**") if odd.isfile(one)) == below
    assert not [one for one in odd.glob("data/odd/**") if one.endswith("/")]
    assert odd.ls("data/odd", detail=False) == [
        "data/odd///d", "data/odd//b", "data/odd//deep", "data/odd/a", "data/odd/deep"
    ]  # fmt: skip
    assert "data//top" in odd.ls("data", detail=False)
    assert odd.ls("data/odd//deep", detail=False) == ["data/odd//deep/c"]
    assert odd.cat("data/odd", recursive=True) == {name: name.encode() for name in below}
    assert odd.du("data/odd") == sum(map(len, below))


@pytest.mark.parametrize("topdown", [True, False])
def test_walks_give_names_that_can_be_joined(odd: AbstractFileSystem, topdown: bool):
    """A folder's path and a name in it make the name of the blob."""
    walked = list(odd.walk("data/odd", topdown=topdown))
    joined = sorted(f"{path}/{name}" for path, _, names in walked for name in names)
    assert joined == sorted(name for name in _TREE if "/odd/" in name)
    assert [path for path, _, _ in walked][0 if topdown else -1] == "data/odd"
    (only,) = odd.walk("data/odd", maxdepth=1, detail=True)
    assert {info["name"] for info in only[2].values()} == {"data/odd/a", "data/odd//b", "data/odd///d"}


def test_walks_can_be_pruned_and_tell_errors(odd: AbstractFileSystem):
    """As `os.walk`: folders that are taken out are not gone into; what is not there is told to who asks."""
    seen = []
    for path, folders, _ in odd.walk("data/odd"):
        seen.append(path)
        folders.clear()
    assert seen == ["data/odd"]
    told: list[OSError] = []
    assert list(odd.walk("nowhere", on_error=told.append)) == [("nowhere", [], [])]
    assert isinstance(told[0], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        list(odd.walk("nowhere", on_error="raise"))
    with pytest.raises(ValueError, match="at least 1"):
        list(odd.walk("data", maxdepth=0))


# Slashes at the end.


def test_a_blob_whose_name_ends_with_a_slash(files: AbstractFileSystem, tmp_path: Path):
    """With bytes it is a file: found, counted, read, copied, removed."""
    files.pipe({"data/tr/data/": b"not empty", "data/tr/data/x": b"1", "data/tr/mark/": b"", "data/tr/mark/y": b"2"})
    assert files.find("data/tr") == ["data/tr/data/", "data/tr/data/x", "data/tr/mark/y"]
    assert files.find("data/tr", maxdepth=3) == files.find("data/tr")
    assert files.du("data/tr") == 11
    assert [files.isfile(one) for one in ("data/tr/data/", "data/tr/data", "data/tr/mark/")] == [True, False, False]
    assert [files.isdir(one) for one in ("data/tr/data", "data/tr/", "data/tr/mark/")] == [True, True, True]
    assert files.cat("data/tr", recursive=True)["data/tr/data/"] == b"not empty"
    files.copy("data/tr", "data/twin", recursive=True)
    assert files.cat_file("data/twin/data/") == b"not empty"
    files.get_file("data/tr/data/", str(tmp_path / "alone"))
    assert (tmp_path / "alone").read_bytes() == b"not empty"
    with pytest.raises(StorageError, match="cannot be a local file"):
        files.get("data/tr", str(tmp_path / "tree"), recursive=True)
    files.rm("data/tr/", recursive=True)
    assert files.find("data/tr") == []
    assert len(files.find("data/twin")) == 3


def test_looking_at_a_folder_by_its_slash_costs_one_request_more():
    """And without the slash what it did."""
    with run_blob_server() as server:
        server.seed("data", "many/{}", 3, b"x")
        files = filesystem(environ=server.environment())
        for path, requests in (("data/many", 2), ("data/many/", 3), ("data/many/1", 1)):
            server.faults()
            assert files.exists(path)
            assert sum(count for kind, count in server.counts().items() if not kind.startswith("from ")) == requests


# Patterns and paths.


def test_patterns_may_begin_in_the_containers_name(files: AbstractFileSystem, azurite: Azurite):
    """With and without a scheme, alone and before a path; nothing of another container is looked at."""
    for name in ("globa", "globb", "other"):
        azurite.container(name)
        files.pipe_file(f"{name}/sub/a.txt", b"1")
    assert files.glob("glob*") == files.glob("az://glob*") == files.glob("azray://glob?") == ["globa", "globb"]
    assert {"globa", "globb", "other"} <= set(files.glob("*"))
    found = ["globa/sub/a.txt", "globb/sub/a.txt"]
    assert (
        files.glob("glob*/sub/*.txt") == files.glob("az://glob*/**/*.txt") == files.glob("glob[ab]/**/a.txt") == found
    )
    assert files.glob("globa*/*/") == ["globa/sub"]
    assert set(found) <= set(files.find(""))
    assert files.find("", prefix="glob", maxdepth=1, withdirs=True) == ["globa", "globb"]
    assert [one.path for one in fsspec.open_files("azray://glob*/sub/*.txt")] == found


def test_urls_of_several_parts(files: AbstractFileSystem):
    """A file in an archive in a blob; a cache before a blob; a protocol beside the path."""
    with files.open("data/z.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner.txt", "inside")
    for url in ("zip://inner.txt::azray://data/z.zip", "simplecache::zip://inner.txt::azray://data/z.zip"):
        with fsspec.open(url) as found:
            assert found.read() == b"inside"
    with fsspec.open("simplecache::azray://data/z.zip") as found:
        assert zipfile.is_zipfile(found)
    with fsspec.open("data/plain", "w", protocol="azray") as text:
        text.write("plain")
    assert fsspec.open("data/plain", protocol="azray").open().read() == b"plain"
    other, path = fsspec.url_to_fs("dir::azray://data")
    assert other.cat_file("plain") == b"plain"
    del path


@pytest.mark.parametrize("path", ["data/a/../b", "data/./b", "data/..", "az://data/a/..", "../data/b", "data/\udcff"])
def test_paths_that_no_blob_can_have(files: AbstractFileSystem, path: str):
    """A UsageError, as for URIs, before anything is asked."""
    calls: list[Any] = [files.cat_file, files.info, files.ls, files.exists, files.find, files.open, files.rm]
    calls += [lambda path: files.pipe_file(path, b"1"), lambda path: files.cp_file("data/x", path)]
    for call in calls:
        with pytest.raises(UsageError):
            call(path)


def test_a_container_is_no_file(files: AbstractFileSystem):
    """The system's error, by reading and by writing."""
    calls: list[Any] = [
        lambda: files.cat("data"),
        lambda: files.cat_file("data"),
        lambda: files.open("data", "wb"),
        lambda: files.pipe_file("data", b"1"),
        lambda: files.put_file(__file__, "data"),
    ]
    for call in calls:
        with pytest.raises(IsADirectoryError, match="container"):
            call()


# Folders that are made, moved and removed.


def test_folders_are_made_by_their_containers(files: AbstractFileSystem, azurite: Azurite):
    """A container is made once; a folder in it needs none of its own; names and what is there are told."""
    for path in ("made/some/folder", "made", "az://made/other"):
        files.mkdir(path)
    assert files.isdir("made")
    files.makedir("made/again", exist_ok=True)
    with pytest.raises(FileExistsError):
        files.makedir("made", exist_ok=False)
    with pytest.raises(FileNotFoundError):
        files.mkdir("unmade/folder", create_parents=False)
    files.mkdir("unmade", create_parents=False)
    with pytest.raises(UsageError, match="Bad_Name"):
        files.mkdir("Bad_Name")
    del azurite


def test_who_may_make_no_container(azurite: Azurite):
    """A signature for one container: folders in it are no matter, others are refused, with what mends it."""
    azurite.container("data")
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    sas = generate_container_sas(azurite.account, "data", account_key=azurite.key, permission="racwdl", expiry=expiry)
    files = filesystem(f"{azurite.blob_endpoint}/data?{sas}")
    for path in ("data/folder", "data"):
        files.mkdir(path)
    with pytest.raises(CredentialError):
        files.mkdir("elsewhere")


def test_folders_are_moved(files: AbstractFileSystem):
    """With all that is in them; a folder without more is no file to copy."""
    files.pipe({"data/mv/a": b"1", "data/mv/deep/b": b"2"})
    files.mv("data/mv", "data/moved", recursive=True)
    assert not files.exists("data/mv")
    assert files.cat("data/moved", recursive=True) == {"data/moved/a": b"1", "data/moved/deep/b": b"2"}
    with pytest.raises(FileNotFoundError):
        files.mv("data/none", "data/other", recursive=True)


def test_only_what_is_empty_is_removed_by_rmdir(files: AbstractFileSystem, azurite: Azurite):
    """A container with a blob stays; what is missing or a file is told; a folder that nothing stands for is none."""
    azurite.container("filled")
    files.pipe({"filled/sub/x": b"1", "filled/mark/": b""})
    for path in ("filled", "az://filled/", "filled/sub", ""):
        with pytest.raises(OSError, match="not empty") as caught:
            files.rmdir(path)
        assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(NotADirectoryError):
        files.rmdir("filled/sub/x")
    with pytest.raises(FileNotFoundError):
        files.rmdir("nowhere")
    files.rmdir("filled/mark")
    files.rmdir("filled/none")
    assert files.find("filled", withdirs=True) == ["filled/sub", "filled/sub/x"]
    files.rm("filled/sub/x")
    files.rmdir("filled")
    assert not files.exists("filled")
