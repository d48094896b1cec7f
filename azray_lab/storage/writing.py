"""Layers over a blob that is written, and how the blob learns that a `with` block failed.

Python's wrappers (text, gzip) and those who wrap files themselves (fsspec's `OpenFile`, pandas, pyarrow) end a failed
block by `close()`, as if all were well. Over a blob that would put the half in the place of the old one.
"""

from __future__ import annotations

import inspect
import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from azray_lab.storage.opening import BlobFile

# Whose `__exit__` closes the files that it holds, and nothing else.
_HOLDERS = frozenset({"fsspec.core", "pandas.io.common", "pyarrow.parquet.core"})


class TextFile(io.TextIOWrapper):
    """Text of a blob that is written; an error inside the `with` block leaves what was there before."""

    def __init__(self, under: BlobFile | CompressedFile, **text: Any) -> None:
        super().__init__(under, **text)  # type: ignore[arg-type]  # fsspec's files have no types
        self._under = under

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._under.abandon()
        self.close()


class CompressedFile(io.BufferedIOBase):
    """What is written to it reaches the blob compressed; closing it closes the blob, too."""

    def __init__(self, under: BlobFile, compression: str) -> None:
        from fsspec.compression import compr

        super().__init__()
        self._under = under
        self._packer = compr[compression](under, mode=under.mode[0])

    def writable(self) -> bool:
        """It is for writing only."""
        return True

    def write(self, data: Any) -> int:
        """How many bytes of `data` were taken: all."""
        return int(self._packer.write(data))

    def flush(self) -> None:
        """Does nothing: no byte is seen before the file is closed, and compressors pack worse by it."""

    def abandon(self) -> None:
        """Nothing of it is to appear."""
        self._under.abandon()

    def close(self) -> None:
        """Writes what the compressor still holds, then makes the blob."""
        if self.closed:
            return
        super().close()
        try:
            self._packer.close()
        except BaseException:
            self.abandon()
            raise
        finally:
            self._under.close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()
        self.close()


def ended_by_error() -> bool:
    """Whether fsspec, pandas or pyarrow is closing a file just now because of an error in its `with` block.

    They tell the file nothing, so it looks at who calls: an `__exit__` of theirs that was given an error. Elsewhere a
    `close()` means what it says, also in an `except` clause.
    """
    frame = inspect.currentframe() if sys.exc_info()[1] is not None else None
    while frame is not None:
        if frame.f_code.co_name == "__exit__" and frame.f_globals.get("__name__") in _HOLDERS and _was_given(frame):
            return True
        frame = frame.f_back
    return False


def _was_given(frame: FrameType) -> bool:
    """Whether an error is among the arguments, by name or in `*args`."""
    for value in frame.f_locals.values():
        if any(isinstance(one, BaseException) for one in (value if isinstance(value, tuple) else (value,))):
            return True
    return False
