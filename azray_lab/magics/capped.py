"""Text for a cell that may be too much for a notebook: its beginning as it comes, its end at the end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Characters. A front end keeps and draws all of a cell's output, and the file is saved with it.
FIRST, LAST = 1 << 20, 1 << 16
_NOTE = "[... too much for a cell: of the rest only its end will follow; `azray logs` in a terminal shows all ...]\n"


class Capped:
    """Writes the first characters through `write` at once and holds the last ones back until `close`.

    It cuts between lines where it can. What lies between is counted and dropped, so memory stays bounded.
    """

    def __init__(self, write: Callable[[str], object], *, first: int = FIRST, last: int = LAST) -> None:
        self._write = write
        self._room = first
        self._last = last
        self._held: deque[str] = deque()
        self._size = 0
        self._lines = 0
        self._full = False

    def write(self, text: str) -> None:
        """Writes `text`, or holds it back when the beginning is full."""
        if not self._full and len(text) <= self._room:
            self._room -= len(text)
            self._write(text)
            return
        if not self._full:
            self._full = True
            cut = text.rfind("\n", 0, self._room) + 1
            self._write(f"{text[:cut]}{_NOTE}")
            text = text[cut:]
        self._hold(text)

    def _hold(self, text: str) -> None:
        for line in text.splitlines(keepends=True):
            piece = line[-self._last :]
            self._held.append(piece)
            self._size += len(piece)
        while self._size > self._last:
            dropped = self._held.popleft()
            self._size -= len(dropped)
            self._lines += 1

    def close(self) -> None:
        """Writes what was held back, and how many lines are missing before it."""
        if self._lines:
            self._write(f"[... {self._lines:,} lines are left out here ...]\n")
        if self._held:
            self._write("".join(self._held))
        self._held.clear()
        self._size = self._lines = 0
