"""`azray mount`, `unmount` and `mounts` as a person or a program calls them: real processes, a real Blob service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import azray_lab
from azray_lab.storage.blobfuse.records import Record, Records

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = [pytest.mark.azurite, pytest.mark.slow]

Azray = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def azray(azurite: Azurite, fresh_home: Path, tmp_path: Path) -> Iterator[Azray]:
    """Runs `azray ...` with a container `data` that has 60 small blobs below `set`; unmounts what is left."""
    del fresh_home
    azurite.container("data")
    environment = os.environ | azurite.environment()
    files = azray_lab.filesystem("az://", environ=environment)
    for number in range(60):
        files.pipe_file(f"data/set/{number}.txt", str(number).encode())

    def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "azray_lab", *words], capture_output=True, text=True, cwd=tmp_path,
            env=environment | environ, timeout=120, check=False,
        )  # fmt: skip

    yield run
    for one in json.loads(run("mounts", "--json").stdout):
        if one["path"].startswith(os.path.realpath(tmp_path)):
            run("unmount", one["path"], "--lazy")


def test_a_folder_comes_is_listed_and_goes(azray: Azray, tmp_path: Path):
    """The three calls of the help: the files are there, the list says how it is, and then nothing is left."""
    done = azray("mount", "az://data/set", "m", "--profile", "dataset")
    assert done.returncode == 0, done.stderr
    assert "60 blobs" in done.stdout
    assert (tmp_path / "m" / "7.txt").read_text() == "7"
    listed = azray("mounts")
    assert "mounted" in listed.stdout
    assert "az://data/set" in listed.stdout
    assert azray("unmount", "m").returncode == 0
    assert not (tmp_path / "m").exists()
    assert not [one for one in json.loads(azray("mounts", "--json").stdout) if one["owners"]]


def test_json_of_each_is_one_document(azray: Azray, tmp_path: Path):
    """`--json` on stdout alone, without a secret."""
    mounted = json.loads(azray("mount", "az://data/set", "m", "-p", "dataset", "--json").stdout)
    assert (mounted["uri"], mounted["engine"]) == ("az://data/set", "hydrate")
    [listed] = [one for one in json.loads(azray("mounts", "--json").stdout) if one["owners"]]
    assert (listed["path"], listed["state"]) == (os.path.realpath(tmp_path / "m"), "mounted")
    assert json.loads(azray("unmount", "m", "--json").stdout) == {"path": "m", "mounted": False, "unwritten": []}


def test_explain_says_what_would_be_done_and_mounts_nothing(azray: Azray, tmp_path: Path):
    """Every setting with its value and its reason; the folder is not even made."""
    done = azray("mount", "az://data/set", "m", "-p", "checkpoints", "--set", "file_cache.timeout-sec=33", "--explain")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "file_cache.timeout-sec" in line)
    assert "33" in line
    assert "asked for; ours is" in line
    assert "azstorage.block-size-mb" in done.stdout
    assert not (tmp_path / "m").exists()
    data = json.loads(azray("mount", "az://data/set", "m", "-p", "checkpoints", "--explain", "--json").stdout)
    assert all(setting["because"] for setting in data["settings"])
    assert (data["settings"][0]["setting"], "not preload:" in data["settings"][0]["because"]) == ("components", True)


def test_explain_works_without_blobfuse2_and_says_that_it_is_missing(azray: Azray, tmp_path: Path):
    """Where the program is not on PATH the settings are shown all the same, and why `mount` would fail."""
    empty = tmp_path / "bin"
    empty.mkdir()
    done = azray("mount", "az://data/set", "m", "-p", "checkpoints", "--explain", PATH=str(empty))
    assert done.returncode == 0, done.stderr
    assert "not here: blobfuse2 is not installed" in done.stdout
    assert "azstorage.block-size-mb" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("mount", "az://data", "m", "--profile", "fast"), 2, "dataset"),
        (("mount", "az://data", "m", "--set", "block_cache.prefetchh=1"), 2, "Did you mean"),
        (("mount", "data", "m"), 2, "az://"),
        (("mount", "az://nowhere", "m", "-p", "dataset"), 1, "azray blob ls"),
        (("unmount", "m"), 1, "the kernel lists no mount there"),
        (("mounts", "--tune", "m"), 2, "nothing of ours is mounted"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_next_step(azray: Azray, words: tuple[str, ...], code: int, said: str):
    """Wrong use is 2, a failure 1; the line says what to do."""
    done = azray(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Next:" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_dead_mount_had_not_written_is_kept_and_told(azray: Azray, tmp_path: Path):
    """`mounts` counts it, `unmount` says where it is, and the command that it names brings it into Blob."""
    path = os.path.realpath(tmp_path / "m")
    records = Records(Path(os.environ["AZRAY_HOME"]) / "mounts")
    cache = records.folder(path).cache
    records.folder(path).make()
    records.folder(path).write(Record("az://data/set", path, "checkpoints", "blobfuse2", 1.0, cache=str(cache)))
    cache.mkdir()
    (cache / "7.txt").write_text("7")
    (cache / "weights").write_text("half")
    assert "2 files in" in azray("mounts").stdout
    done = azray("unmount", "m")
    assert done.returncode == 1, done.stderr
    told = done.stdout.splitlines()[1]
    assert told.startswith(f"1 file of {path} (0.0 MiB) may not be in Blob: azray blob cp -r ")
    assert "kept: 1 file" in azray("mounts").stdout
    command = told.partition("azray ")[2].partition(", then rm -r ")
    assert azray(*command[0].split()).returncode == 0
    assert azray("blob", "cat", "az://data/set/weights").stdout == "half"
    shutil.rmtree(command[2])
    assert "kept" not in azray("mounts").stdout


def test_mend_brings_back_what_was_taken_away(azray: Azray, tmp_path: Path):
    """A copy whose bind mount or link is gone is there again after `azray mounts --mend`."""
    path = tmp_path / "m"
    assert azray("mount", "az://data/set", "m", "-p", "dataset").returncode == 0
    _take_away(path)
    assert "gone" in {one["state"] for one in json.loads(azray("mounts", "--json").stdout) if one["owners"]}
    mended = json.loads(azray("mounts", "--mend", "--json").stdout)
    assert {one["state"] for one in mended if one["owners"]} == {"mounted"}
    assert (path / "7.txt").read_text() == "7"


def test_what_cannot_be_brought_back_keeps_nothing_else_from_it(azray: Azray, tmp_path: Path):
    """A mount whose signature is gone is told with the command that helps; the other one is there again."""
    assert azray("mount", "az://data/set", "m", "-p", "dataset").returncode == 0
    _take_away(tmp_path / "m")
    path, uri = os.path.realpath(tmp_path / "a"), "https://acc.blob.core.windows.net/data"
    records = Records(Path(os.environ["AZRAY_HOME"]) / "mounts")
    records.folder(path).make()
    records.folder(path).write(Record(uri, path, "checkpoints", "blobfuse2", 1.0, signed=True))
    done = azray("mounts", "--mend")
    assert done.returncode == 1
    assert f"azray mount '{uri}?SIGNATURE' {path} --profile checkpoints" in done.stderr
    assert (tmp_path / "m" / "7.txt").read_text() == "7"


def _take_away(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        path.mkdir()
    else:
        subprocess.run(["umount", str(path)], check=True, timeout=20)
