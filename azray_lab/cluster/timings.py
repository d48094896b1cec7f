"""How long earlier starts took, stage by stage, so that the next one can say how long it will take."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.durable import read_json, write_json
from azray_lab.spec import settings

if TYPE_CHECKING:
    from azray_lab.operation import Timing

_KEPT = 5


def _file() -> Path:
    return settings.state_dir() / "timings.json"


def _read() -> dict[str, dict[str, list[float]]]:
    # A hint, no state: a broken file is as good as none, and the next success replaces it.
    with contextlib.suppress(ValueError):
        data: Any = read_json(_file())
        if isinstance(data, dict):
            return data
    return {}


def expected(target: str, nodes: int) -> dict[str, float]:
    """Seconds by stage, the medians of earlier starts of as many nodes on this target; empty when there was none."""
    return {stage: statistics.median(took) for stage, took in _read().get(f"{target}/{nodes}", {}).items() if took}


def remember(target: str, nodes: int, timeline: Iterable[Timing]) -> None:
    """Adds the timeline of a start that succeeded; the last five count."""
    everything = _read()
    stages = everything.setdefault(f"{target}/{nodes}", {})
    for timing in timeline:
        stages[timing.stage] = [*stages.get(timing.stage, []), timing.seconds][-_KEPT:]
    write_json(_file(), everything)
