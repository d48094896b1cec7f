"""Fails for a source file above 500 lines, and for a package whose functions are too long: 9 of 10 below 30 lines."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 30
SHARE = 0.9
ROOT = Path(__file__).resolve().parent.parent
# Written by tools, or prose.
EXEMPT = {"LICENSE", "constraints.txt"}
WRITTEN = Path("docs/reference")
KINDS = {".py", ".sh", ".toml", ".yml", ".yaml", ".ts", ".css", ".md", ""}


def sources() -> list[Path]:
    """The files that git knows or would add, as paths relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = [Path(line) for line in listed.stdout.splitlines()]
    read = [path for path in paths if path.name not in EXEMPT and not path.is_relative_to(WRITTEN)]
    return [path for path in read if path.suffix in KINDS and (ROOT / path).is_file()]


def lines(path: Path) -> int:
    """How many lines the file has."""
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def function_lengths(path: Path) -> list[int]:
    """The lengths of all functions of a Python file, in lines, docstring and all."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]


def long_files() -> list[str]:
    """A sentence for each file that is too long."""
    counted = [(path, lines(path)) for path in sources()]
    return [f"{path}: {count} lines, above {MAX_FILE_LINES}" for path, count in counted if count > MAX_FILE_LINES]


def long_functions() -> list[str]:
    """A sentence when too few functions of the package are short."""
    package = [path for path in sources() if path.suffix == ".py" and path.parts[0] == "azray_lab"]
    lengths = [length for path in package for length in function_lengths(path)]
    short = sum(length < MAX_FUNCTION_LINES for length in lengths)
    if short >= SHARE * len(lengths):
        return []
    return [f"azray_lab: only {short} of {len(lengths)} functions are below {MAX_FUNCTION_LINES} lines"]


def main() -> int:
    """Prints what is too big; 1 when anything is."""
    wrong = long_files() + long_functions()
    print("\n".join(wrong) or "sizes are as they should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
