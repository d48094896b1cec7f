"""How much time `import azray_lab` adds to Python's start, and `%load_ext azray_lab` to a notebook's cell.

The extension loads click in a thread after the cell has ended, so that the first TAB is quick; the last line of the
table counts that too, because a process ends only after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from measure import Figure, alternating, median, report, seconds

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
LIMIT_MS = 60.0
IPYTHON = (sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "-c")
_CELL = """
import time
began = time.perf_counter()
get_ipython().run_line_magic("load_ext", "azray_lab")
print("took", time.perf_counter() - began)
"""


def cell_seconds() -> float:
    """How long the cell `%load_ext azray_lab` takes in an IPython that is running."""
    done = subprocess.run([*IPYTHON, _CELL], check=True, capture_output=True, text=True, timeout=60)
    return float(done.stdout.rpartition("took")[2])


def main() -> int:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        bare, ours, plain, loaded, cell = alternating(
            ROUNDS,
            lambda: seconds([sys.executable, "-c", "pass"]),
            lambda: seconds([sys.executable, "-c", "import azray_lab"]),
            lambda: seconds([*IPYTHON, "pass"]),
            lambda: seconds([*IPYTHON, "%load_ext azray_lab"]),
            cell_seconds,
        )
    added = (median(ours) - median(bare)) * 1000
    own = median(cell) * 1000
    target = f"adds <= {LIMIT_MS:g} ms"
    return report(
        f"import time, medians of {ROUNDS}",
        [
            Figure("python, import azray_lab", median(ours) * 1000, "ms", median(bare) * 1000, "bare python"),
            Figure("  added by the import", added, "ms", target=target, met=added <= LIMIT_MS),
            Figure("%load_ext azray_lab, the cell", own, "ms", target=target, met=own <= LIMIT_MS),
            Figure("ipython that loads it and ends", median(loaded) * 1000, "ms", median(plain) * 1000, "bare ipython"),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
