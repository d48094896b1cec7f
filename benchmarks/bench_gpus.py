"""`azray gpus` on a cluster of 8 nodes with pretended GPUs, each of which an actor holds; Python's start included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from measure import AZRAY, Figure, alternating, azray, home, median, report, seconds

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
LIMIT_SECONDS = 1.0
WORKERS = 7
GPUS = {"type": "A100", "count": 8, "pretend": True}
SPEC = {
    "name": "bench",
    "head": {"cpus": 1, "gpus": GPUS, "object_store_memory": "80MiB"},
    "workers": [{"count": WORKERS, "cpus": 1, "gpus": GPUS, "object_store_memory": "80MiB"}],
}
# One driver with an actor on each node, which stays until its stdin ends.
HOLDERS = """
import sys, azray_lab, ray
azray_lab.attach("bench").connect(log_to_driver=False)
class Holder:
    def ready(self): return True
kind = ray.remote(num_cpus=0, num_gpus=4, scheduling_strategy="SPREAD")(Holder)
holders = [kind.remote() for _ in range(16)]
ray.get([holder.ready.remote() for holder in holders])
print("ready", flush=True)
sys.stdin.read()
"""
# The peer: the same question to Ray's own Python client of the State API, which joins nothing.
PEER = "from ray.util.state import list_actors, list_nodes; list_nodes(detail=True); list_actors(detail=True)"


def main() -> int:
    """Measures and prints."""
    with home() as environment:
        spec = Path(environment["AZRAY_HOME"]).parent / "azray.yaml"
        spec.write_text(json.dumps(SPEC))
        try:
            azray(environment, "up", "-f", str(spec))
            ours, peer = _measure(environment)
        finally:
            end = [*AZRAY, "down", "bench", "--yes"]
            subprocess.run(end, env=environment, check=False, capture_output=True, timeout=180)
    return report(
        f"azray gpus, medians of {ROUNDS}",
        [
            Figure(
                f"azray gpus, {WORKERS + 1} nodes, 16 holders", median(ours), "s", median(peer), "Ray's state client",
                target=f"<= {LIMIT_SECONDS:g} s", met=median(ours) <= LIMIT_SECONDS,
            )
        ],
    )  # fmt: skip


def _measure(environment: dict[str, str]) -> list[list[float]]:
    command = [sys.executable, "-c", HOLDERS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as driver:
        assert driver.stdout  # noqa: S101 - it is a pipe
        if driver.stdout.readline().strip() != "ready":
            raise SystemExit("the actors did not start")
        found = azray(environment, "gpus", "bench")
        held = sum(len(row["holders"]) for row in found["rows"])
        if (len(found["rows"]), held) != (WORKERS + 1, 16):
            raise SystemExit(f"{len(found['rows'])} nodes and {held} holders were found")
        attach = [*AZRAY, "attach", "bench", "--", sys.executable, "-c", PEER]
        measured = alternating(
            ROUNDS, lambda: seconds([*AZRAY, "gpus", "bench"], environment), lambda: seconds(attach, environment)
        )
        driver.communicate(timeout=60)
    return measured


if __name__ == "__main__":
    sys.exit(main())
