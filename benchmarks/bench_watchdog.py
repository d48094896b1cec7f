"""What the lease watchdog costs on a cluster that idles: CPU time of one core, and memory, over a minute.

The peer is Ray's own dashboard agent of the same cluster in the same minute.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import psutil
from measure import Figure, cluster, home, report

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
LIMIT_PERCENT, LIMIT_MIB = 1.0, 60.0
# Ray's processes are still busy with their start before.
_SETTLE_SECONDS = 10.0


def used(process: psutil.Process) -> float:
    """The CPU seconds that it has used so far, in user and kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


def mib(process: psutil.Process) -> float:
    """Its resident memory."""
    return float(process.memory_info().rss) / 2**20


def agent(handle: dict[str, Any]) -> psutil.Process:
    """The head's dashboard agent."""
    head = psutil.Process(handle["details"]["nodes"]["head"]["pid"])
    # It gives itself this name; the raylet has the agent's path among its own arguments.
    return next(p for p in head.children(recursive=True) if p.cmdline()[0].startswith("ray::DashboardAgent"))


def main() -> int:
    """Measures and prints."""
    with home() as environment, cluster(environment, "bench") as handle:
        ours, peer = psutil.Process(handle["details"]["watchdog"]["pid"]), agent(handle)
        time.sleep(_SETTLE_SECONDS)
        before, peer_before, began = used(ours), used(peer), time.perf_counter()
        time.sleep(SECONDS)
        took = time.perf_counter() - began
        share, peer_share = ((used(p) - b) / took * 100 for p, b in ((ours, before), (peer, peer_before)))
        memory, peer_memory = mib(ours), mib(peer)
    name = "Ray's agent"
    return report(
        f"the watchdog over {SECONDS:g} s of an idle cluster",
        [
            Figure(
                "CPU of one core", share, "%", peer_share, name,
                target=f"<= {LIMIT_PERCENT:g} %", met=share <= LIMIT_PERCENT,
            ),
            Figure(
                "resident memory", memory, "MiB", peer_memory, name,
                target=f"<= {LIMIT_MIB:g} MiB", met=memory <= LIMIT_MIB,
            ),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
