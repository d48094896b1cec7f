"""`azray up` to the moment the dashboard answers, beside `ray start --head --block` with the same options.

Both begin at the shell (Python's start included), get a dashboard port of their own and a token, and are asked for
`/api/version` every 5 ms. The peer's command and environment are what `azray up` itself would use for the head. Ray
starts the raylet after the dashboard; so `azray up` ends later than the dashboard answers, as `ray start` does.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from measure import AZRAY, Figure, alternating, home, median, paired, report

from azray_lab.errors import AzRayError
from azray_lab.spec.models import ClusterSpec
from azray_lab.targets.base import Endpoint
from azray_lab.targets.local import commands, dashboard
from azray_lab.targets.local.processes import end, marked
from azray_lab.targets.local.startup import free_port, plan_shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
LIMIT = 1.15
_WAIT_SECONDS = 180.0


def answers(endpoint: Endpoint) -> bool:
    """Whether the dashboard answers a request that carries the token."""
    try:
        dashboard.session_name(endpoint)
    except (AzRayError, OSError):
        return False
    return True


def until(check: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Waits for `check`; SystemExit when the process fails before or it takes too long."""
    deadline = time.perf_counter() + _WAIT_SECONDS
    while not check():
        if process.poll() or time.perf_counter() > deadline:
            raise SystemExit(f"{process.args!r} did not start; exit code {process.poll()}")
        time.sleep(0.005)


def azray_seconds(environment: Mapping[str, str], ends: list[float]) -> float:
    """One `azray up`; `ends` gets when the command itself returned."""
    port = free_port()
    began = time.perf_counter()
    up = [*AZRAY, "up", "--name", "bench", "--set", f"local.dashboard_port={port}"]
    with subprocess.Popen(up, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        state = Path(environment["AZRAY_HOME"]) / "local"

        def there() -> bool:
            tokens = list(state.glob("*/token"))
            return bool(tokens) and answers(Endpoint("", f"http://127.0.0.1:{port}", str(tokens[0])))

        until(there, process)
        took = time.perf_counter() - began
        process.wait(_WAIT_SECONDS)
    ends.append(time.perf_counter() - began)
    down = [*AZRAY, "down", "bench", "--yes"]
    subprocess.run(down, env=environment, check=True, capture_output=True, timeout=120)
    return took


def ray_seconds(environment: Mapping[str, str], ends: list[float]) -> float:
    """One `ray start --head --block`, ended by the mark of its processes; `ends` gets when it said that Ray runs."""
    folder = Path(tempfile.mkdtemp(prefix="azp-", dir="/tmp"))
    token, mark, port = folder / "token", secrets.token_hex(4), free_port()
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    spec = ClusterSpec(name="bench")
    share = plan_shares(spec)["head"]
    began = time.perf_counter()
    command = commands.start_command(
        "head", "head", spec, share, ip=commands.node_ip(mark, 0), temp_dir=folder, dashboard_port=port,
        client_port=free_port(),
    )  # fmt: skip
    own = commands.node_environment(environment, spec, share, cluster_id=mark, name="head", token=token)
    own["PYTHONUNBUFFERED"] = "1"
    said = folder / "said"
    with said.open("wb") as log, subprocess.Popen(command, env=own, stdout=log, stderr=log) as process:
        try:
            until(lambda: answers(Endpoint("", f"http://127.0.0.1:{port}", str(token))), process)
            took = time.perf_counter() - began
            until(lambda: b"Ray runtime started" in said.read_bytes(), process)
            ends.append(time.perf_counter() - began)
            return took
        finally:
            stop(mark, process)
            shutil.rmtree(folder)


def stop(mark: str, process: subprocess.Popen[bytes]) -> None:
    """Ends the processes with this mark, and no other."""
    end(marked(mark))
    deadline = time.perf_counter() + 3
    while left := marked(mark):
        process.poll()  # its zombie is ours to take away
        if time.perf_counter() > deadline:
            end(left, kill=True)
        time.sleep(0.05)


def main() -> int:
    """Measures and prints."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    returned: list[float] = []
    running: list[float] = []
    with home() as environment:
        ours, peer = alternating(
            ROUNDS, lambda: azray_seconds(environment, returned), lambda: ray_seconds(environment, running)
        )
    ratio = paired(ours, peer)
    print("rounds, ours/peer:", "  ".join(f"{a:.1f}/{b:.1f}" for a, b in zip(ours, peer, strict=True)), "s")
    return report(
        f"start of a local cluster (head only), medians of {ROUNDS}, alternating",
        [
            Figure(
                "azray up, to the dashboard", median(ours), "s", median(peer), "ray start",
                target=f"ratio <= {LIMIT}", met=ratio <= LIMIT, ratio=ratio,
            ),
            Figure(
                "azray up, to its end", median(returned[1:]), "s", median(running[1:]), "ray start, Ray runs",
                ratio=paired(returned[1:], running[1:]),
            ),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
