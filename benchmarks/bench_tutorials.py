"""Each tutorial by papermill, unmodified, from the command's start to its end, beside the 150 s that it may take.

    python benchmarks/bench_tutorials.py [ROUNDS] [NOTEBOOK...]     such as: 2 02_train; without, one round of all

Takes two minutes for each on two cores. Kernel, cluster and Azurite come and go within the time, as for whoever runs
one. 03_serve trains its models itself here. A tutorial that fails, as where an extra is missing, is told and has no
figure; its clusters are ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import AZRAY, Figure, azray, home, median, report, seconds

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
MOST_SECONDS = 150
_LIMIT_SECONDS = 600.0


def took(notebook: Path, environment: Mapping[str, str]) -> float | None:
    """The seconds of one run; None after saying why it failed."""
    with tempfile.TemporaryDirectory(prefix="azt-") as folder:
        out = Path(folder) / notebook.name
        command = [sys.executable, "-m", "papermill", str(notebook), str(out), "--cwd", str(NOTEBOOKS)]
        try:
            return seconds(command, environment, limit=_LIMIT_SECONDS)
        except subprocess.CalledProcessError as error:
            print(f"{notebook.stem} failed: {error.stderr.decode(errors='replace').strip().splitlines()[-1]}")
        except subprocess.TimeoutExpired:
            print(f"{notebook.stem} was ended after {_LIMIT_SECONDS:g} s")
        finally:
            end_clusters(environment)
    return None


def end_clusters(environment: Mapping[str, str]) -> None:
    """Ends what a tutorial that failed has left."""
    for cluster in azray(environment, "list"):
        down = [*AZRAY, "down", cluster["name"], "--yes"]
        subprocess.run(down, env=environment, check=True, capture_output=True, timeout=120)


def figures(notebooks: Sequence[Path], rounds: int) -> list[Figure]:
    """One line for each tutorial that ran to its end."""
    found = []
    for notebook in notebooks:
        with home() as environment:
            each = [value for value in (took(notebook, environment) for _ in range(rounds)) if value is not None]
        if each:
            met = median(each) < MOST_SECONDS
            found.append(Figure(notebook.stem, median(each), "s", target=f"< {MOST_SECONDS} s", met=met))
    return found


def main() -> int:
    """Measures and prints."""
    rounds = next((int(word) for word in sys.argv[1:] if word.isdecimal()), 1)
    wanted = [word.removesuffix(".ipynb") for word in sys.argv[1:] if not word.isdecimal()]
    notebooks = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if not wanted or path.stem in wanted]
    if unknown := set(wanted) - {path.stem for path in notebooks}:
        raise SystemExit(f"no such tutorial: {', '.join(sorted(unknown))}")
    return report(f"tutorials by papermill, medians of {rounds}", figures(notebooks, rounds))


if __name__ == "__main__":
    sys.exit(main())
