"""What lies in Blob: the names and the contents of the blobs that make a checkpoint complete.

A checkpoint's files lie in a folder of their own, `NAME-XXXXXX/`; it is there for readers when
`_complete/NNNNNNNN-NAME-XXXXXX.json` is, which is written last and says which files of which size and version belong to
it. So an upload that is killed leaves nothing that anybody reads. `_started/NAME-XXXXXX`, which is written first and
removed last, tells what is ours: nothing else beside it is ever removed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from azray_lab.errors import StorageError, UsageError

COMPLETE = "_complete"
STARTED = "_started"
_VERSION = 1
_MARK = re.compile(r"(\d{8,})-((?s:.+)-[0-9a-f]{6})\.json")


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint: `files` by name with size and ETag, empty `folders`, `facts` as they were given."""

    name: str
    number: int
    folder: str
    files: Mapping[str, tuple[int, str]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())

    def content(self) -> bytes:
        """What the blob says that makes it complete."""
        text = {"version": _VERSION, "files": self.files, "folders": self.folders, "facts": self.facts}
        return json.dumps(text).encode()


class Mark(NamedTuple):
    """What the name of such a blob says: the how-manieth it is, and the folder of its files."""

    number: int
    folder: str

    @property
    def name(self) -> str:
        """What the checkpoint is called."""
        return self.folder[:-7]

    @property
    def blob(self) -> str:
        """The blob's name below the place."""
        return f"{COMPLETE}/{self.number:08d}-{self.folder}.json"

    @classmethod
    def of(cls, blob: str) -> Mark:
        """The mark that the blob called `blob` is; StorageError when it is none of ours."""
        found = _MARK.fullmatch(blob.rpartition("/")[2])
        if found is None:
            raise _no_checkpoint(blob, "its name is none that is given to one")
        return cls(int(found[1]), found[2])


def new_folder(name: str) -> str:
    """A folder for the files of one checkpoint called `name`; UsageError for names that would mix with ours."""
    if not name or "/" in name or name.startswith((".", "_")):
        raise UsageError(f"{name!r} is no name for a checkpoint", next_step="a name such as epoch-7, without /")
    return f"{name}-{secrets.token_hex(3)}"


def read(blob: str, content: bytes) -> Saved:
    """The checkpoint that the blob called `blob` makes complete; StorageError when it describes none."""
    mark = Mark.of(blob)
    try:
        text = json.loads(content)
        if text["version"] != _VERSION:
            raise ValueError("another version")  # noqa: TRY301 - as what cannot be read
        files = {name: (int(size), str(etag)) for name, (size, etag) in text["files"].items()}
        folders = tuple(str(one) for one in text["folders"])
        return Saved(mark.name, mark.number, mark.folder, files, dict(text["facts"]), folders)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_checkpoint(blob, f"{type(error).__name__}: {error}") from error


def _no_checkpoint(blob: str, cause: str) -> StorageError:
    return StorageError(
        f"{blob} does not describe a checkpoint", cause=cause, next_step=f"azray blob rm az://.../{blob}"
    )


def plain(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` as they come back: plain JSON; numbers of NumPy and torch as Python's. UsageError for what has no form.

    NaN and infinities stay what they are, as the loss of a training that went wrong.
    """
    return {key: _plain(name, key, value) for key, value in facts.items()}


def _plain(name: str, key: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=_number))
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch's, and of what is too deep
        raise UsageError(
            f"{key}= cannot be kept with the checkpoint {name!r}",
            cause=f"it is no JSON: {error}",
            next_step=f"give numbers, text, or lists and dictionaries of them, such as {key}=float({key})",
        ) from error


def _number(value: Any) -> Any:
    """The Python number that an array or tensor without dimensions is."""
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        found = value.item()
        if isinstance(found, (bool, int, float, str)):
            return found
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
