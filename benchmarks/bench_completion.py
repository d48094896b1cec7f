"""How long one TAB takes in IPython on `%azray` lines, with 1,000 handles in the registry.

The peer is IPython's own completion of a magic's line, with Jedi off as in Jupyter's default kernel of today.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from measure import Figure, home, median, report

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
LIMIT_MS = 20.0
HANDLES = 1000
LINES = ("%azray ", "%azray st", "%azray up --wo", "%azray up --target ", "%azray status co", "%%azray run --cluster ")
PEER = "%timeit os.pa"


def tab(shell: object, line: str) -> tuple[float, int]:
    """Milliseconds for a TAB at the end of `line`, and how many completions came."""
    from IPython.core.completer import provisionalcompleter

    began = time.perf_counter()
    with provisionalcompleter():
        found = list(shell.Completer.completions(line, len(line)))  # type: ignore[attr-defined]
    return (time.perf_counter() - began) * 1000, len(found)


def main() -> int:
    """Measures and prints."""
    with home() as environment:
        os.environ.update(environment)
        os.environ["IPYTHONDIR"] = environment["AZRAY_HOME"] + "-ipython"
        clusters = Path(environment["AZRAY_HOME"]) / "clusters"
        clusters.mkdir(parents=True)
        for number in range(HANDLES):
            (clusters / f"copy-{number}.json").write_text("{}")
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        # No history: its database would outlive the folder that it lies in.
        shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
        shell.Completer.use_jedi = False
        shell.user_ns["os"] = os
        shell.run_line_magic("load_ext", "azray_lab")
        for thread in [t for t in threading.enumerate() if t.name == "azray-warm"]:
            thread.join()
        first = max(tab(shell, line)[0] for line in LINES)
        every: dict[str, list[float]] = {line: [] for line in (*LINES, PEER)}
        for _ in range(ROUNDS):
            for line, took in every.items():
                took.append(tab(shell, line)[0])
        counts = {line: tab(shell, line)[1] for line in LINES}
    if empty := [line for line, count in counts.items() if not count]:
        raise SystemExit(f"no completions for {empty}")
    peer = median(every[PEER])
    target = f"< {LIMIT_MS:g} ms"
    figures = [
        Figure(f"TAB at `{line}`", value := median(every[line]), "ms", peer, PEER, target=target, met=value < LIMIT_MS)
        for line in LINES
    ]
    slowest = Figure("the slowest first TAB", first, "ms", peer, PEER, target=target, met=first < LIMIT_MS)
    return report(f"completion, medians of {ROUNDS}", [*figures, slowest])


if __name__ == "__main__":
    sys.exit(main())
