"""`azray status` of a running cluster, and `azray list` with 1,000 handles; Python's start included."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from measure import AZRAY, Figure, alternating, cluster, home, median, report, seconds

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
RAY_ROUNDS = 5
LIMIT_SECONDS = 0.3
HANDLES = 1000


def main() -> int:
    """Measures and prints."""
    bare = [sys.executable, "-c", "pass"]
    with home() as environment, cluster(environment, "bench") as handle:
        status, start = alternating(
            ROUNDS, lambda: seconds([*AZRAY, "status", "bench"], environment), lambda: seconds(bare)
        )
        attach = [*AZRAY, "attach", "bench", "--", sys.executable, "-m", "ray.scripts.scripts", "status"]
        (ray_status,) = alternating(RAY_ROUNDS, lambda: seconds(attach, environment))
        folder = Path(environment["AZRAY_HOME"]) / "clusters"
        for number in range(HANDLES - 1):
            # Each is as costly to look at as a running cluster, for it names processes that run.
            copy = handle | {"name": f"copy-{number}"}
            (folder / f"copy-{number}.json").write_text(json.dumps(copy, indent=1))
        (listed,) = alternating(ROUNDS, lambda: seconds([*AZRAY, "list"], environment))
        for number in range(HANDLES - 1):
            (folder / f"copy-{number}.json").unlink()
    target = f"<= {LIMIT_SECONDS:g} s"
    return report(
        f"status and list, medians of {ROUNDS} ({RAY_ROUNDS} of the peer)",
        [
            Figure(
                "azray status", median(status), "s", median(ray_status), "ray status through azray attach",
                target=target, met=median(status) <= LIMIT_SECONDS,
            ),
            Figure(
                f"azray list, {HANDLES} handles", median(listed), "s", median(start), "bare python",
                target=target, met=median(listed) <= LIMIT_SECONDS,
            ),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
