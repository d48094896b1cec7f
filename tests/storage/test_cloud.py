"""`AzureFileSystem`, the shape that Ray LLM wants, and sync: on a real Blob service."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import azray_lab
from azray_lab import blob
from azray_lab.errors import BlobNotFoundError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.cloud import AzureFileSystem
from azray_lab.storage.engine import engine_for

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite


@pytest.fixture(autouse=True)
def data(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment points at the module's server, which has the container `data`."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    azurite.container("data")


def _tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (time.time() - 60, time.time() - 60))  # what is of the second of a sync is copied again
    return folder


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_it_has_the_shape_that_ray_llm_wants():
    """Every method of Ray's base class is here, static, with the same parameters and defaults."""
    source = Path(inspect.getfile(__import__("ray"))).parent / "llm/_internal/common/utils/cloud_filesystem/base.py"
    wanted: dict[str, object] = {}
    exec(compile(source.read_text(), str(source), "exec"), wanted)  # noqa: S102 - Ray's; its package needs vLLM
    base = wanted["BaseCloudFileSystem"]
    names = base.__abstractmethods__  # type: ignore[attr-defined]
    assert names == {"get_file", "list_subfolders", "download_files", "upload_files"}
    for name in names:
        theirs = inspect.signature(getattr(base, name)).parameters
        ours = inspect.signature(getattr(AzureFileSystem, name)).parameters
        assert [(one.name, one.default) for one in ours.values()] == [(o.name, o.default) for o in theirs.values()]
        assert isinstance(inspect.getattr_static(AzureFileSystem, name), staticmethod)
    assert azray_lab.AzureFileSystem is AzureFileSystem


def test_files_go_and_come_by_uri(azurite: Azurite, tmp_path: Path):
    """A model's folder goes up, is looked into, and comes down without what is not wanted; spellings do not matter."""
    model = _tree(tmp_path / "model", config_dot_json="{}", weights_dot_bin="w", sub__tokens_dot_txt="t")
    uri = f"azure://data@{azurite.blob_endpoint.partition('//')[2]}/models/m"
    AzureFileSystem.upload_files(str(model), uri)
    AzureFileSystem.upload_files(str(model / "config.json"), "az://data/models/alone")
    assert AzureFileSystem.get_file(f"{uri}/config.json") == "{}"
    assert AzureFileSystem.get_file("az://data/models/m/weights.bin", decode_as_utf_8=False) == b"w"
    assert AzureFileSystem.get_file("az://data/models/alone/config.json") == "{}"
    assert AzureFileSystem.list_subfolders("abfs://data/models") == ["alone", "m"]
    AzureFileSystem.download_files(str(tmp_path / "all"), uri)
    assert _below(tmp_path / "all") == ["config.json", "sub/tokens.txt", "weights.bin"]
    AzureFileSystem.download_files(str(tmp_path / "some"), uri, suffixes_to_exclude=[".bin", ".txt"])
    AzureFileSystem.download_files(str(tmp_path / "some"), uri, substrings_to_include=["tok"])
    AzureFileSystem.download_files(str(tmp_path / "nothing"), uri, substrings_to_include=["no such name"])
    assert _below(tmp_path / "nothing") == []
    assert (tmp_path / "nothing").is_dir()
    assert _below(tmp_path / "some") == ["config.json", "sub/tokens.txt"]


def test_what_is_missing_is_none_or_empty(tmp_path: Path):
    """No blob, no folder, no container: as Ray LLM's other file systems say it; to copy nothing is an error."""
    assert AzureFileSystem.get_file("az://data") is None
    assert AzureFileSystem.list_subfolders("az://nowhere") == []
    with pytest.raises(BlobNotFoundError, match="az://data/none"):
        AzureFileSystem.download_files(str(tmp_path / "none"), "az://data/none")
    assert not (tmp_path / "none").exists()
    assert AzureFileSystem.get_file("az://data/none") is None
    assert AzureFileSystem.get_file("az://nowhere/none") is None
    assert AzureFileSystem.list_subfolders("az://data/none") == []


def test_a_sync_copies_what_differs(tmp_path: Path):
    """Up and down: missing, of another size, newer. What is equal is left, also right after it came."""
    here = _tree(tmp_path / "here", a="1", sub__b="22")
    first = blob.sync(here, "az://data/sync").run()
    assert (first.copied, first.unchanged, first.bytes) == (2, 0, 3)
    assert blob.sync(here, "az://data/sync").run().copied == 0
    _tree(here, a="333")
    assert [one["target"] for one in blob.planned_sync(here, "az://data/sync").to_dict()] == ["az://data/sync/a"]
    assert blob.sync(here, "az://data/sync").run().copied == 1
    os.utime(here / "sub" / "b", (time.time() + 60, time.time() + 60))
    assert blob.sync(here, "az://data/sync").run().copied == 1
    there = tmp_path / "there"
    assert blob.sync("az://data/sync", there).run().copied == 2
    assert blob.sync("az://data/sync", there).run().unchanged == 2
    assert (there / "a").read_text() == "333"


def test_a_sync_sees_a_change_of_the_same_second(tmp_path: Path):
    """Of the same size, right after it was sent; what came down is not sent back, and nothing is copied for ever."""
    here, there = _tree(tmp_path / "here", a="aaa"), tmp_path / "there"
    assert blob.sync(here, "az://data/second").run().copied == 1
    (here / "a").write_text("bbb")
    assert blob.sync(here, "az://data/second").run().copied == 1
    assert blob.read("az://data/second/a") == b"bbb"
    os.utime(here / "a", (time.time() - 60, time.time() - 60))
    assert blob.sync(here, "az://data/second").run().copied == 0
    blob.sync("az://data/second", there).run()
    assert blob.sync(there, "az://data/second").run().copied == 0
    assert blob.sync("az://data/second", there).run().copied == 0


def test_a_sync_of_blobs_sees_a_change_of_the_same_second():
    """A blob that is written again in the second in which it was copied is copied again."""
    engine = engine_for(BlobUri.parse("az://data"))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        engine.put("data", "one/a", b"aaa")
        blob.sync("az://data/one", "az://data/two").run()
        engine.put("data", "one/a", b"bbb")
        both = [engine.stat("data", name) for name in ("one/a", "two/a")]
        if len({one.changed for one in both if one is not None}) == 1:
            break
    assert blob.sync("az://data/one", "az://data/two").run().copied == 1
    assert engine.get_bytes("data", "two/a") == b"bbb"


def test_a_sync_removes_only_when_told(tmp_path: Path):
    """`delete` removes what the source lacks, on either side, and `planned_sync` only says so."""
    here = _tree(tmp_path / "here", a="1", b="2")
    blob.sync(here, "az://data/removing").run()
    (here / "b").unlink()
    assert blob.sync(here, "az://data/removing").run().removed == 0
    (planned,) = blob.planned_sync(here, "az://data/removing", delete=True).to_dict()
    assert planned == {"action": "remove", "source": "", "target": "az://data/removing/b", "size": 1}
    assert blob.sync(here, "az://data/removing", delete=True).run().removed == 1
    there = _tree(tmp_path / "there", a="1", c="3")
    assert blob.sync("az://data/removing", there, delete=True).run().removed == 1
    assert _below(there) == ["a"]
    with pytest.raises(UsageError, match="no folder"):
        blob.sync(tmp_path / "none", "az://data/removing", delete=True)


@pytest.mark.parametrize("delete", [False, True])
def test_a_sync_from_a_folder_that_is_not_there(tmp_path: Path, delete: bool):
    """A misspelt source removes nothing: it is an error, also when it is only planned."""
    there = _tree(tmp_path / "there", a="1")
    with pytest.raises(BlobNotFoundError, match="az://data/misspelt"):
        blob.sync("az://data/misspelt", there, delete=delete).run()
    with pytest.raises(BlobNotFoundError, match="az://data/misspelt"):
        blob.planned_sync("az://data/misspelt", there, delete=delete)
    assert _below(there) == ["a"]


@pytest.mark.parametrize("how", ["remove", "slash", "fsspec"])
def test_blobs_that_stand_for_folders_go_with_them(azurite: Azurite, how: str):
    """The marker of the folder, and those of folders in it, whose names have no slash at their end."""
    engine = engine_for(BlobUri.parse("az://data"), azurite.environment())
    for folder in ("marked", "marked/deep", "marked/deep/er"):
        engine.put("data", folder, b"", metadata={"hdi_isfolder": "true"})
    engine.put("data", "marked/deep/er/x", b"1")
    engine.put("data", "marked-not", b"1")
    planned = blob.to_remove("az://data/marked", recursive=True).to_dict()
    assert planned[-1]["target"] == "az://data/marked"
    if how == "fsspec":
        azray_lab.filesystem(environ=azurite.environment()).rm("data/marked", recursive=True)
    else:
        uri = "az://data/marked/" if how == "slash" else "az://data/marked"
        assert blob.remove(uri, recursive=True).run().files == 1
    assert [one.stored for one in engine.list("data", "marked")] == ["marked-not"]


def test_more_files_than_are_kept_are_listed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Above the limit nothing is kept between counting and copying; the totals are right all the same."""
    from azray_lab.operation import Operation
    from azray_lab.storage.copying import run_copy
    from azray_lab.storage.routes import Route

    here = _tree(tmp_path / "here", **{f"f{number}": "x" for number in range(25)})
    route = Route.parse(here, "az://data/twice", recursive=True)
    operation: Operation[object] = Operation("copy")
    done = operation.run(lambda running: run_copy(route, running, kept=10))
    assert (done.files, done.bytes) == (25, 25)  # type: ignore[attr-defined]
    summary = next(event for event in operation.events if (event.kind, event.stage) == ("done", "list"))
    assert summary.message == "25 files, 25 B"
    del monkeypatch


def test_a_survey_of_a_folder(tmp_path: Path):
    """`usage` counts each folder and all; `tree` draws them, and gives totals below its depth."""
    blob.sync(_tree(tmp_path / "here", a="1", sub__b="22", sub__deep__c="333"), "az://data/survey").run()
    rows = blob.usage("az://data/survey").to_dict()
    assert [(row["name"], row["blobs"], row["bytes"]) for row in rows] == [
        (".", 1, 1), ("sub/", 2, 5), ("az://data/survey", 3, 6)
    ]  # fmt: skip
    assert str(blob.tree("az://data/survey")).splitlines()[1:] == [
        "|-- a  (1 B)", "`-- sub/", "    |-- b  (2 B)", "    `-- deep/", "        `-- c  (3 B)"
    ]  # fmt: skip
    assert "`-- sub/  (2 blobs, 5 B)" in str(blob.tree("az://data/survey", depth=1))


def test_a_pattern_means_the_blobs_that_match(tmp_path: Path):
    """In a listing, a copy and a removal; a blob of exactly that name comes first."""
    blob.sync(_tree(tmp_path / "here", x1_dot_csv="1", x2_dot_csv="2", y__x3_dot_csv="3"), "az://data/glob").run()
    found = blob.list_blobs("az://data/glob/x*.csv").to_dict()
    assert [one["uri"] for one in found] == ["az://data/glob/x1.csv", "az://data/glob/x2.csv"]
    assert blob.copy("az://data/glob/**.csv", tmp_path / "csv").run().files == 3
    assert _below(tmp_path / "csv") == ["x1.csv", "x2.csv", "y/x3.csv"]
    (tmp_path / "star").write_text("*")
    blob.copy(tmp_path / "star", "az://data/glob/x*.csv").run()
    assert [one["uri"] for one in blob.list_blobs("az://data/glob/x*.csv").to_dict()] == ["az://data/glob/x*.csv"]
    assert blob.remove("az://data/glob/x*.csv").run().files == 1
    assert blob.remove("az://data/glob/x[12].csv").run().files == 2
    assert [one["uri"] for one in blob.list_blobs("az://data/glob", recursive=True).to_dict()] == [
        "az://data/glob/y/x3.csv"
    ]
