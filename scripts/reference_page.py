"""What the writers of reference pages share: writing a page, or with --check comparing it with what is committed."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def finish(path: Path, text: str) -> int:
    """Writes `text` to `path`, or with --check prints how the file differs; the exit code."""
    if "--check" not in sys.argv[1:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{path} is written")
        return 0
    there = path.read_text(encoding="utf-8") if path.is_file() else ""
    if there == text:
        print(f"{path.name} is up to date")
        return 0
    difference = difflib.unified_diff(there.splitlines(), text.splitlines(), "committed", "generated", n=0, lineterm="")
    print("\n".join(difference))
    print(f"{path} is out of date. Next: python {sys.argv[0]}")
    return 1
