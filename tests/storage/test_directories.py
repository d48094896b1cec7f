"""Blobs that stand for folders, as Hadoop and accounts with a hierarchical namespace have them: never seen as blobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import azray_lab
from azray_lab import AzureFileSystem, blob
from azray_lab.errors import BlobNotFoundError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite

_MARK = {"hdi_isfolder": "true"}
# `top` and what is in it; `top-not` sorts between the marker `top` and the folder `top/`.
_MARKERS = ("top", "top/deep", "top/empty", "top/slash/")
_BLOBS = ("top-not", "top/a", "top/deep/b", "top/slash/c")


@pytest.fixture
def marked(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine on a container with markers, some of them empty folders; the environment points at it."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    azurite.container("hns")
    engine = engine_for(BlobUri.parse("az://hns"))
    for name in _MARKERS:
        engine.put("hns", name, b"", metadata=_MARK)
    for name in _BLOBS:
        engine.put("hns", name, b"1")
    return engine


def _listed(uri: str, *, recursive: bool = False) -> list[tuple[str, str]]:
    rows = blob.list_blobs(uri, recursive=recursive).to_dict()
    return [(row["type"], row["uri"].removeprefix("az://hns/")) for row in rows]


@pytest.mark.parametrize("uri", ["az://hns/top", "az://hns/top/", "abfss://hns/top"])
def test_listed_once(marked: Engine, uri: str):
    """A folder for which a blob stands is one folder, and is not in itself; recursive lists blobs only."""
    assert sorted(_listed("az://hns")) == [("blob", "top-not"), ("folder", "top/")]
    assert sorted(_listed("az://hns/t*")) == [("blob", "top-not"), ("folder", "top/")]
    inside = [("blob", "top/a"), ("folder", "top/deep/"), ("folder", "top/empty/"), ("folder", "top/slash/")]
    assert sorted(_listed(uri)) == inside
    assert [name for _, name in _listed(uri, recursive=True)] == ["top/a", "top/deep/b", "top/slash/c"]
    assert sorted(AzureFileSystem.list_subfolders(uri)) == ["deep", "empty", "slash"]
    assert blob.usage(uri).to_dict()[-1]["blobs"] == 3
    del marked


@pytest.mark.parametrize("uri", ["az://hns/top/empty", "az://hns/top/empty/"])
def test_an_empty_folder_is_there(marked: Engine, uri: str):
    """It has nothing in it and is no error; what stands for nothing still is one."""
    assert _listed(uri) == []
    with pytest.raises(BlobNotFoundError):
        _listed("az://hns/top/none")
    with pytest.raises(UsageError, match="is a folder"):
        blob.remove(uri).run()
    assert marked.exists("hns", "top/empty")


def test_looked_at_as_files(marked: Engine):
    """The file system sees folders, also empty ones, each once, and no file of their names."""
    files = azray_lab.filesystem()
    assert {name: files.isdir(f"hns/{name}") for name in ("top", "top/deep", "top/empty", "top/slash", "top/a")} == {
        "top": True, "top/deep": True, "top/empty": True, "top/slash": True, "top/a": False
    }  # fmt: skip
    assert files.info("hns/top/empty")["type"] == "directory"
    assert files.ls("hns", detail=False) == ["hns/top", "hns/top-not"]
    assert files.ls("hns/top", detail=False) == ["hns/top/a", "hns/top/deep", "hns/top/empty", "hns/top/slash"]
    assert files.find("hns/top") == ["hns/top/a", "hns/top/deep/b", "hns/top/slash/c"]
    del marked


def test_copied_without_them(marked: Engine, tmp_path: Path):
    """What comes down are the files; a sync finds nothing to do afterwards, in either direction."""
    assert blob.copy("az://hns/top", tmp_path, recursive=True).run().files == 3
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["a", "deep/b", "slash/c"]
    again = blob.sync("az://hns/top", tmp_path, delete=True).run()
    assert (again.copied, again.unchanged, again.removed) == (0, 3, 0)
    back = blob.sync(tmp_path, "az://hns/top", delete=True).run()
    assert (back.unchanged + back.copied, back.removed) == (3, 0)
    assert marked.exists("hns", "top/empty")


def test_removed_with_what_is_in_them(marked: Engine):
    """A folder goes with its markers, the deepest first; only blobs are counted; the rest stays."""
    assert blob.remove("az://hns/top/d*", recursive=True).run().files == 1
    assert not marked.exists("hns", "top/deep")
    assert blob.remove("az://hns/top/empty", recursive=True).run().files == 0
    assert not marked.exists("hns", "top/empty")
    assert blob.remove("az://hns/top", recursive=True).run().files == 2
    assert [one.stored for one in marked.list("hns")] == ["top-not"]
