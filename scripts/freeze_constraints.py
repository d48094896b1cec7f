"""Resolves all extras but [train] for every supported Python and writes constraints.txt (`make constraints`).

[train] stays out: pins of torch and its CUDA wheels would tie everyone to one accelerator. Takes about 10 s.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("lab", "serve", "azure", "kube", "dev")
HEADER = """\
# What AzRay Lab is tested with; made by `make constraints`, used by every install that make does.
# No index addresses, no hashes: pip and uv take them from the index that you have configured.
"""


def resolve() -> list[str]:
    """The pins as `name==version ; marker` lines, valid for Linux on every supported Python."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--upgrade"]
    command += [argument for extra in EXTRAS for argument in ("--extra", extra)]
    command += ["pyproject.toml", "-"]
    done = subprocess.run(command, cwd=ROOT, input="uv\n", capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return [line for line in done.stdout.splitlines() if "==" in line]


def main() -> None:
    """Writes constraints.txt."""
    pins = [line for line in resolve() if "sys_platform == 'win32'" not in line]
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"constraints.txt: {len(pins)} pins")


if __name__ == "__main__":
    main()
