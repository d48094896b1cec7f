"""The working directory that travels: what is in it, what is left out, how large it may be."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from azray_lab.errors import CancelledError, PackageTooLargeError, UsageError
from azray_lab.jobs import package


def write(folder: Path, **files: str) -> None:
    """Writes files whose names have `__` for `/` and `_dot_` for a leading dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder: Path) -> set[str]:
    """The files of `folder` that travel."""
    return {file.name for file in package.walk(folder)}


def test_what_gitignore_names_stays_here(tmp_path: Path) -> None:
    """Patterns, folders, anchors and exceptions mean what they mean to git."""
    write(
        tmp_path,
        _dot_gitignore="*.log\n!keep.log\ndata/\n/only_top\n# comment\n",
        main="",
        a_dot_log="",
        only_top="",
        sub__only_top="",
        data__big="",
        sub__data__big="",
    )
    (tmp_path / "keep.log").write_text("")
    assert names(tmp_path) == {".gitignore", "main", "keep.log", "sub/only_top"}


def test_the_nearest_gitignore_wins(tmp_path: Path) -> None:
    """A deeper file takes back what an upper one left out, and .rayignore counts as well."""
    write(tmp_path, _dot_gitignore="*.bin\n", sub___dot_gitignore="!good.bin\n", other___dot_rayignore="secret\n")
    for name in ("sub/good.bin", "sub/bad.bin", "top.bin", "other/secret", "other/open"):
        (tmp_path / name).write_text("")
    assert names(tmp_path) == {".gitignore", "sub/.gitignore", "sub/good.bin", "other/.rayignore", "other/open"}


def test_rules_above_count_within_a_repository(tmp_path: Path) -> None:
    """A working directory below a repository's root obeys the root's .gitignore; without a repository nothing above."""
    write(tmp_path, _dot_gitignore="*.csv\n", part__train="", part__big_csv="")
    (tmp_path / "part/big.csv").write_text("")
    assert "big.csv" in names(tmp_path / "part")
    (tmp_path / ".git").mkdir()
    assert "big.csv" not in names(tmp_path / "part")


def test_caches_and_environments_never_travel(tmp_path: Path) -> None:
    """Git's own folder, caches, checkpoints and virtual environments of any name are left out."""
    write(tmp_path, main="", _dot_git__config="", __pycache__x="", sub___dot_ipynb_checkpoints__x="", myenv__lib__x="")
    (tmp_path / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "__pycache__/x.pyc").write_text("")
    (tmp_path / "myenv/pyvenv.cfg").write_text("")
    assert not {name for name in names(tmp_path) if name.startswith(("myenv", ".git/", "__pycache__/", "sub/"))}
    assert "main" in names(tmp_path)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    """A link to a file or folder travels as what it points to; loops, broken links, sockets and pipes do not."""
    write(tmp_path, here__a="1")
    (tmp_path / "link").symlink_to(tmp_path / "here")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "here/up").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(tmp_path / "socket"))
        assert names(tmp_path) == {"here/a", "link/a"}


def test_the_same_files_give_the_same_package(tmp_path: Path) -> None:
    """Times and the order on disk do not matter, contents and permissions do."""
    uris = []
    for folder, order in ((tmp_path / "one", ["a", "b"]), (tmp_path / "two", ["b", "a"])):
        folder.mkdir()
        for name in order:
            (folder / name).write_text(name)
        os.utime(folder / "a", (1, 1))
        with package.build(folder) as built:
            uris.append(built.uri)
    assert uris[0] == uris[1]
    (tmp_path / "two/a").chmod(0o755)
    with package.build(tmp_path / "two") as built:
        assert built.uri != uris[0]
        assert built.uri.startswith("gcs://_ray_pkg_")
        assert built.path == f"/api/packages/gcs/{built.uri.removeprefix('gcs://')}"


def test_the_zip_holds_contents_permissions_and_what_is_injected(tmp_path: Path) -> None:
    """Injected files come on top and replace files of the same name."""
    write(tmp_path, run="#!/bin/sh\n", cell="old")
    (tmp_path / "run").chmod(0o755)
    with package.build(tmp_path, {"cell": b"new"}) as built, zipfile.ZipFile(built.body) as archive:
        assert archive.read("cell") == b"new"
        assert archive.namelist().count("cell") == 1
        assert (archive.getinfo("run").external_attr >> 16) & 0o777 == 0o755
        assert built.names == {"run", "cell"}


def test_too_large_names_the_largest_files_and_what_to_do(tmp_path: Path) -> None:
    """Above the limit nothing is sent; the error has the sizes, the limit, the largest files first, the next step."""
    for name, size in (("small.bin", 1000), ("large.bin", 60_000), ("larger.bin", 90_000)):
        (tmp_path / name).write_bytes(os.urandom(size))
    with pytest.raises(PackageTooLargeError) as caught, package.build(tmp_path, limit=100_000):
        pytest.fail("it was built")
    error = caught.value
    assert [file["name"] for file in error.facts["largest"]] == ["larger.bin", "large.bin", "small.bin"]
    assert (error.facts["size"], error.facts["limit"]) == (151_000, 100_000)
    assert "97.7 KiB" in error.cause
    assert ".gitignore" in error.next_step
    assert "--working-dir" in error.next_step


def test_the_limit_is_on_what_is_sent(tmp_path: Path) -> None:
    """What compresses well may be larger than the limit."""
    (tmp_path / "zeros").write_bytes(bytes(1_000_000))
    with package.build(tmp_path, limit=100_000) as built:
        assert built.size < 100_000


def test_no_such_directory(tmp_path: Path) -> None:
    """A missing directory is the user's mistake."""
    with pytest.raises(UsageError, match="there is no directory"), package.build(tmp_path / "missing"):
        pytest.fail("it was built")


def test_building_can_be_cancelled(tmp_path: Path) -> None:
    """A check that raises ends the building between two files."""
    write(tmp_path, a="", b="")

    def cancelled() -> Any:
        raise CancelledError("stop")

    with pytest.raises(CancelledError), package.build(tmp_path, check=cancelled):
        pytest.fail("it was built")
