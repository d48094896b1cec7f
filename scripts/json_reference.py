"""Fails when docs/reference/json.md leaves out a key that a verb prints, or a kind of event; with or without --check.

The page is written by hand, with documents of real runs; this only holds it to the values that make them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

from azray_lab import planning
from azray_lab.accelerators import Device, Process, Reason
from azray_lab.blob import CopyResult, SyncResult
from azray_lab.cli.detached import Detached
from azray_lab.errors import AzRayError
from azray_lab.hardware import GpuReport, GpuRow, Holder
from azray_lab.jobs import Job, JobResult
from azray_lab.operation import Event, Kind
from azray_lab.storage.blobfuse.health import Health
from azray_lab.storage.blobfuse.records import Record
from azray_lab.targets.base import ClusterStatus, LeaseStatus, MountStatus, NodeStatus, PlannedNode, State, TargetPlan

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "json.md"


def names(*kinds: type) -> set[str]:
    """The fields of dataclasses that are printed as they are."""
    return {field.name for kind in kinds for field in fields(kind)}


def expected() -> dict[str, set[str]]:
    """The words that each section of the page must have."""
    plan = planning.Plan("", "", "", (), TargetPlan(()), None)
    event = Event("progress", "stage", 0.0, "message", 0.5)
    return {
        "A cluster": names(ClusterStatus, NodeStatus, LeaseStatus, MountStatus) | set(get_args(State)),
        "A start that goes on": names(Detached),
        "A plan": {*plan.to_dict(), *names(PlannedNode)},
        "A job": {*Job("", "", "").to_dict(), *JobResult("", "", "", value=1).to_dict()},
        "GPUs": names(GpuReport, GpuRow, Holder, Device, Process, Reason) - {"live"},  # of use to faces only
        "Blobs": names(CopyResult, SyncResult),
        "Mounts": names(Record, Health),
        "An error": set(AzRayError("").to_dict()),
        "Events": {*event.to_dict(), *get_args(Kind), "value"},
    }


def main() -> int:
    """Prints what is missing; the exit code."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    missing = [
        f"{PAGE.name}, {title}: `{word}` is missing"
        for title, words in expected().items()
        for word in sorted(words)
        if not re.search(rf"\b{word}\b", sections.get(title, ""))
    ]
    print("\n".join(missing) or f"{PAGE.name} has every key")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
