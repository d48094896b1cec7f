"""The file system beside adlfs on the same blobs: who changes over gets the same answers and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import adlfs
import pytest

from azray_lab.storage.filesystem import BlobFileSystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite

pytestmark = [
    pytest.mark.azurite,
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
    # adlfs leaves its clients to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_FILES = {"a.txt": b"1", "sub/b.txt": b"22", "sub/deep/c.bin": b"333", "sub/deep/d.txt": b"4444", "empty": b""}
_TOLD = ("name", "size", "type", "etag", "last_modified", "creation_time", "metadata", "content_settings")
# What is asked of both; `fs` is either of them, `at` its own folder.
_READS: dict[str, Callable[[Any, str], Any]] = {
    "ls": lambda fs, at: sorted(fs.ls(at, detail=False)),
    "ls of a file": lambda fs, at: fs.ls(f"{at}/a.txt", detail=False),
    "ls with details": lambda fs, at: sorted((one["name"], one["size"], one["type"]) for one in fs.ls(at, detail=True)),
    "ls of nothing": lambda fs, at: fs.ls(f"{at}/none"),
    "info of a file": lambda fs, at: {name: fs.info(f"{at}/a.txt")[name] for name in _TOLD},
    "info of a folder": lambda fs, at: {name: fs.info(f"{at}/sub")[name] for name in ("name", "size", "type")},
    "times": lambda fs, at: (fs.created(f"{at}/a.txt"), fs.modified(f"{at}/a.txt")),
    "walk": lambda fs, at: [(path, sorted(dirs), sorted(names)) for path, dirs, names in fs.walk(at)],
    "info of nothing": lambda fs, at: fs.info(f"{at}/none"),
    "exists": lambda fs, at: [fs.exists(f"{at}/{name}") for name in ("a.txt", "sub", "sub/", "none")],
    "isfile": lambda fs, at: [fs.isfile(f"{at}/{name}") for name in ("a.txt", "sub", "none")],
    "isdir": lambda fs, at: [fs.isdir(f"{at}/{name}") for name in ("a.txt", "sub", "none")],
    "find": lambda fs, at: sorted(fs.find(at)),
    "find below a prefix": lambda fs, at: sorted(fs.find(f"{at}/sub", prefix="deep/c")),
    "find of nothing": lambda fs, at: fs.find(f"{at}/none"),
    "glob": lambda fs, at: sorted(fs.glob(f"{at}/*.txt")),
    "glob of all": lambda fs, at: sorted(fs.glob(f"{at}/**/*.txt")),
    "du": lambda fs, at: fs.du(at),
    "sizes": lambda fs, at: fs.sizes([f"{at}/a.txt", f"{at}/empty"]),
    "cat": lambda fs, at: fs.cat(f"{at}/sub/b.txt"),
    "cat of many": lambda fs, at: fs.cat([f"{at}/a.txt", f"{at}/empty"]),
    "cat of a part": lambda fs, at: fs.cat_file(f"{at}/sub/deep/d.txt", 1, 3),
    "cat of nothing": lambda fs, at: fs.cat_file(f"{at}/none"),
    "head and tail": lambda fs, at: (fs.head(f"{at}/sub/deep/d.txt", 2), fs.tail(f"{at}/sub/deep/d.txt", 3)),
    "open of nothing": lambda fs, at: fs.open(f"{at}/none").read(),
    "read of text": lambda fs, at: fs.read_text(f"{at}/sub/b.txt"),
    "open by URL": lambda fs, at: fs.open(f"abfs://{at}/a.txt").read(),
    "container": lambda fs, at: at.split("/")[0] in fs.ls("", detail=False),
}
_WRITES: dict[str, Callable[[Any, str], Any]] = {
    "pipe": lambda fs, at: fs.pipe_file(f"{at}/new", b"new"),
    "pipe over": lambda fs, at: fs.pipe_file(f"{at}/a.txt", b"other"),
    "write": lambda fs, at: fs.write_text(f"{at}/text", "ü"),
    "touch": lambda fs, at: fs.touch(f"{at}/touched"),
    "makedirs": lambda fs, at: fs.makedirs(f"{at}/folder", exist_ok=True),
    "cp": lambda fs, at: fs.cp_file(f"{at}/a.txt", f"{at}/copy"),
    "cp of a folder": lambda fs, at: fs.copy(f"{at}/sub", f"{at}/twin", recursive=True),
    "cp of nothing": lambda fs, at: fs.cp_file(f"{at}/none", f"{at}/x"),
    "mv": lambda fs, at: fs.mv(f"{at}/sub/b.txt", f"{at}/moved"),
    "rm": lambda fs, at: fs.rm(f"{at}/empty"),
    "rm_file of nothing": lambda fs, at: fs.rm_file(f"{at}/none"),
    "rm of a folder": lambda fs, at: fs.rm(f"{at}/twin", recursive=True),
    "rm of many": lambda fs, at: fs.rm([f"{at}/copy", f"{at}/text"]),
}


@pytest.fixture(scope="module")
def both(azurite: Azurite) -> tuple[AbstractFileSystem, AbstractFileSystem]:
    """Theirs and ours, and the same files for each."""
    azurite.container("pair")
    theirs = adlfs.AzureBlobFileSystem(connection_string=azurite.connection_string)
    ours = BlobFileSystem(connection_string=azurite.connection_string, use_listings_cache=False)
    for folder in ("files", "theirs", "ours"):
        ours.pipe({f"pair/{folder}/{name}": content for name, content in _FILES.items()})
    return theirs, ours


def _answer(ask: Callable[[Any, str], Any], fs: AbstractFileSystem, at: str) -> Any:
    """What comes back, or the system's class of the error."""
    fs.invalidate_cache()
    try:
        return ask(fs, at)
    except Exception as error:  # noqa: BLE001 - which it is, is compared
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


@pytest.mark.parametrize("what", _READS)
def test_the_same_answer(both: tuple[AbstractFileSystem, AbstractFileSystem], what: str):
    """Also for what is not there, in the same words of Python."""
    theirs, ours = (_answer(_READS[what], fs, "pair/files") for fs in both)
    assert ours == theirs


@pytest.mark.slow
def test_the_same_files_afterwards(both: tuple[AbstractFileSystem, AbstractFileSystem]):
    """One step after the other: the same errors, and after each the same names and contents."""
    for what, ask in _WRITES.items():
        ends = []
        for fs, at in zip(both, ("pair/theirs", "pair/ours"), strict=True):
            answer = _answer(ask, fs, at)
            contents = both[1].cat(at, recursive=True)
            ends.append(
                (
                    answer if isinstance(answer, str) else "",
                    {name.removeprefix(at): content for name, content in contents.items()},
                )
            )
        assert ends[0] == ends[1], what
