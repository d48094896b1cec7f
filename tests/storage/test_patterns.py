"""Patterns: the blobs and folders that match, as a shell's user knows them, and where they go in a copy."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azray_lab import blob
from azray_lab.errors import BlobNotFoundError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.patterns import pattern
from azray_lab.testing.blob_server import BlobServer, run_blob_server

if TYPE_CHECKING:
    from azray_lab.blob import CopyResult
    from azray_lab.operation import Task

_NAMES = ("top.csv", "a/x.csv", "b/x.csv", "b/deep/y.csv", "b/deep/er/x", "ab/c", "c.csv/part-0", "c.csv/part-1")


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """A Blob service whose container `data` has `_NAMES` below the folder `w`."""
    with run_blob_server() as running:
        running.seed("data")
        for name in _NAMES:
            running.seed("data", f"w/{name}", 1, name.encode())
        yield running


@pytest.fixture(autouse=True)
def engine(server: BlobServer, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The environment points at the server."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return engine_for(BlobUri.parse("az://data"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same names as files."""
    folder = tmp_path_factory.mktemp("files")
    for name in _NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def _below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _listed(uri: str, *, recursive: bool = False) -> list[str]:
    rows = blob.list_blobs(uri, recursive=recursive).to_dict()
    return sorted(row["uri"].removeprefix("az://data/w/") for row in rows)


def _notes(task: Task[CopyResult]) -> list[str]:
    return [event.message for event in task.operation.events if event.kind == "note"]


@pytest.mark.parametrize(
    ("text", "fits", "not_"),
    [("a/*.csv", ["a/x.csv", "a/.csv"], ["a/b/x.csv", "b/x.csv"]), ("a/**.csv", ["a/x.csv", "a/b/c.csv"], ["b.csv"]),
     ("x?z", ["xyz"], ["xz", "x/z"]), ("[ab]", ["a", "b"], ["c", "[ab]"]), ("[!a-c]", ["d", "-"], ["b", "/"]),
     ("a.b+(c)", ["a.b+(c)"], ["aXb+(c)"]), ("[", ["["], ["x"]), ("[]", ["[]"], []), ("[^a]", ["[^a]"], ["b"])],
)  # fmt: skip
def test_patterns(text: str, fits: list[str], not_: list[str]):
    """`*` and `?` stay within a folder, `**` does not; every other character means itself."""
    assert [name for name in fits + not_ if pattern(text).fullmatch(name)] == fits


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_pattern(text: str, name: str):
    """No text breaks the matcher, and one without special characters matches itself alone."""
    found = pattern(text).fullmatch(name) is not None
    if not set("*?[") & set(text):
        assert found == (text == name)


_part = st.lists(
    st.sampled_from(["*", "?", "[ab]", "[!a]", "a", "b", "x", ".csv", "d", "deep"]), min_size=1, max_size=3
)
_shapes = st.lists(_part.map("".join), min_size=1, max_size=4).map("/".join).filter(lambda text: "**" not in text)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_shapes.filter(lambda text: set("*?[") & set(text)))
def test_what_a_shell_would_find(files: Path, shape: str):
    """Against Python's `glob` on the same tree: what is listed and, recursive, what is in the folders that match."""
    found = glob.glob(shape, root_dir=files)  # noqa: PTH207 - Path.glob gives folders other names
    wanted = sorted(f"{name}/" if (files / name).is_dir() else name for name in found)
    below = {path for name in found for path in _NAMES if path == name or path.startswith(f"{name}/")}
    for recursive, names in ((False, wanted), (True, sorted(below))):
        if names:
            assert _listed(f"az://data/w/{shape}", recursive=recursive) == names
        else:
            with pytest.raises(BlobNotFoundError):
                _listed(f"az://data/w/{shape}", recursive=recursive)


@pytest.mark.parametrize(
    ("shape", "names"),
    [("*", ["a/", "ab/", "b/", "c.csv/", "top.csv"]), ("*/", ["a/", "ab/", "b/", "c.csv/"]), ("**", sorted(_NAMES)),
     ("**.csv", ["a/x.csv", "b/deep/y.csv", "b/x.csv", "c.csv/", "top.csv"]), ("**/x", ["b/deep/er/x"]),
     ("b/**/e*", ["b/deep/er/"])],
)  # fmt: skip
def test_two_stars_and_a_slash_at_the_end(shape: str, names: list[str]):
    """`**` goes through folders, and one is told that matches by its own name; a slash at the end means folders."""
    assert _listed(f"az://data/w/{shape}") == names


def test_a_level_is_listed_and_no_more(server: BlobServer):
    """A star in the last part of a pattern asks for no name below it: one request where a flat listing takes three."""
    server.seed("wide", "f/{:06d}", 12_000, b"x")
    server.faults()
    assert [row["uri"] for row in blob.list_blobs("az://wide/*").to_dict()] == ["az://wide/f/"]
    assert server.counts()["GET list"] == 2  # and one for a folder that is called so


def test_names_are_kept_below_the_fixed_part(tmp_path: Path):
    """Two blobs of one last name stay two files; the same from blob to blob, and in a dry run."""
    wanted = ["a/x.csv", "b/deep/y.csv", "b/x.csv", "top.csv"]
    assert blob.copy("az://data/w/**.csv", tmp_path).run().files == 4
    assert _below(tmp_path) == wanted
    assert (tmp_path / "b/x.csv").read_text() == "b/x.csv"
    blob.copy("az://data/w/**.csv", "az://data/again").run()
    again = [row["uri"] for row in blob.list_blobs("az://data/again", recursive=True).to_dict()]
    assert again == [f"az://data/again/{name}" for name in wanted]
    planned = blob.planned_copy("az://data/w/*/x.csv", tmp_path / "x").to_dict()
    assert [row["target"] for row in planned] == [str(tmp_path / "x/a/x.csv"), str(tmp_path / "x/b/x.csv")]
    blob.remove("az://data/again", recursive=True).run()


def test_folders_that_match_are_taken_or_told(tmp_path: Path):
    """With `recursive` all that is in them; without it a note, or an error where nothing else matches."""
    task = blob.copy("az://data/w/*", tmp_path / "few")
    assert task.run().files == 1
    assert _notes(task) == ["left out 4 folders that match: add -r (recursive=True in Python) for what is in them"]
    assert "left out 4 folders" in str(blob.planned_copy("az://data/w/*", tmp_path / "few")).splitlines()[-1]
    assert blob.copy("az://data/w/*", tmp_path / "all", recursive=True).run().files == len(_NAMES)
    assert _below(tmp_path / "all") == sorted(_NAMES)
    with pytest.raises(UsageError, match=r"nothing but folders matches az://data/w/a.*: 2 folders.*-r"):
        blob.copy("az://data/w/a*", tmp_path / "none").run()


def test_removed_by_a_pattern(engine: Engine):
    """Folders that match go with `recursive` only, and with what stands for them."""
    for name in ("one", "f/two", "f/g/three", "keep/f"):
        engine.put("data", f"rm/{name}", b"1")
    engine.put("data", "rm/f/empty/", b"")
    with pytest.raises(UsageError, match="nothing but folders matches"):
        blob.remove("az://data/rm/f*").run()
    task = blob.remove("az://data/rm/*")
    assert task.run().files == 1
    assert [event.data["left_out"] for event in task.operation.events if event.kind == "note"] == [2]
    assert blob.count_to_remove("az://data/rm/f*", recursive=True)[0] == 3
    assert blob.remove("az://data/rm/f*", recursive=True).run().files == 3
    assert [one.stored for one in engine.list("data", "rm/")] == ["rm/keep/f"]
    blob.remove("az://data/rm", recursive=True).run()


def test_counted_and_drawn_by_a_pattern():
    """`usage` and `tree` take what matches and what is in folders that match, named below the fixed part."""
    rows = blob.usage("az://data/w/[ab]*").to_dict()
    assert [(row["name"], row["blobs"]) for row in rows] == [("a/", 1), ("ab/", 1), ("b/", 3), ("az://data/w/[ab]*", 5)]
    assert str(blob.tree("az://data/w/a*")).splitlines()[1:] == [
        "|-- a/", "|   `-- x.csv  (7 B)", "`-- ab/", "    `-- c  (4 B)"
    ]  # fmt: skip
    assert "-- data/  (8 blobs, 72 B)" in str(blob.tree("az://", depth=1))


@pytest.mark.parametrize("name", ["odd/[x]/f", "odd/*/f"])
def test_what_is_called_like_a_pattern_comes_first(engine: Engine, name: str, tmp_path: Path):
    """A folder of exactly that name is meant, in every verb, and nothing that only matches."""
    for one in (name, "odd/x/other"):
        engine.put("data", one, b"1")
    folder = f"az://data/{name.removesuffix('/f')}"
    assert [row["uri"] for row in blob.list_blobs(folder).to_dict()] == [f"{folder}/f"]
    assert blob.usage(folder).to_dict()[-1]["blobs"] == 1
    with pytest.raises(UsageError, match="is a folder"):
        blob.copy(folder, tmp_path / "x").run()
    blob.copy(folder, tmp_path / "x", recursive=True).run()
    assert _below(tmp_path / "x") == ["f"]
    with pytest.raises(UsageError, match="is a folder"):
        blob.remove(folder).run()
    assert blob.remove(folder, recursive=True).run().files == 1
    assert engine.exists("data", "odd/x/other")


def test_a_pattern_takes_nothing_from_where_it_copies_to(engine: Engine):
    """Again and again, the copies are not copied; onto itself is an error."""
    for name in ("1.csv", "f/2.csv"):
        engine.put("data", f"own/{name}", b"1")
    for _ in range(2):
        assert blob.copy("az://data/own/**.csv", "az://data/own/copies").run().files == 2
        assert blob.copy("az://data/own/*", "az://data/own/copies/", recursive=True).run().files == 2
    with pytest.raises(UsageError, match="onto itself"):
        blob.copy("az://data/own/*.csv", "az://data/own/").run()
    assert len(list(engine.list("data", "own/"))) == 4
    blob.remove("az://data/own", recursive=True).run()
