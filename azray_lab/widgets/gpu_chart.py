"""The live chart of GPUs: a line of utilisation and one of memory for each, in a notebook."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from azray_lab.cluster import attach
from azray_lab.errors import AzRayError, UnknownClusterError
from azray_lab.hardware import reading
from azray_lab.widgets.cluster import READ_SECONDS
from azray_lab.widgets.feed import feed
from azray_lab.widgets.live import Live, asset
from azray_lab.widgets.texts import say

if TYPE_CHECKING:
    from azray_lab.accelerators import Device
    from azray_lab.hardware import GpuReport, GpuRow

# The last five minutes at two seconds a reading.
_KEPT = 160


class GpuSource:
    """The GPUs of a cluster or of this machine, for the feed: a new report at each read."""

    def __init__(self, report: GpuReport) -> None:
        self._report = report
        self._problem = ""
        self._gone = False
        self.history: deque[tuple[float, dict[str, list[float | None]]]] = deque(maxlen=_KEPT)
        self._remember()

    @property
    def report(self) -> GpuReport:
        """The report that was read last."""
        return self._report

    def read(self) -> bool:
        """Reads the report anew; gives up at the first of its requests that is not answered in two seconds."""
        try:
            self._report = _read(self._report.where)
        except AzRayError as error:
            self._problem, self._gone = str(error), isinstance(error, UnknownClusterError)
            return False
        self._problem, self._gone = "", False
        self._remember()
        return True

    def _remember(self) -> None:
        now = {key: [device["utilisation"], device["memory"]] for key, device in self._devices().items()}
        self.history.append((self._report.read, now))

    def _devices(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for row in self._report.rows:
            held = [str(holder) for holder in row.holders]
            for device in row.devices:
                found[f"{row.node}/{device.index}"] = _device(row, device) | {"held": held}
            if not row.devices:
                found[f"{row.node}/{row.type}"] = _bare(row) | {"held": held}
        return found

    def document(self) -> dict[str, Any]:
        """All devices, and why there are not more.

        While the report cannot be read, `as_of` is when it was (seconds since 1970); what has ended has no devices.
        """
        if self._gone:
            gone = {"where": self._report.where, "count": 0, "devices": {}, "tables": [], "reasons": []}
            return {**gone, "problem": self._problem, "as_of": None}
        told = self._report.tables()
        tables = [{"columns": [say(f"report.{name}") for name in names], "rows": rows} for names, rows in told]
        document = {"where": self._report.where, "count": self._report.count, "devices": self._devices()}
        as_of = round(self._report.read, 1) if self._problem else None
        told_of = {"reasons": self._report.why(), "problem": self._problem, "as_of": as_of}
        return {**document, "tables": tables, **told_of}


def _read(where: str) -> GpuReport:
    if where == reading.HERE:
        return reading.machine()
    cluster = attach(where)
    return reading.cluster(cluster.name, cluster.endpoint, seconds=READ_SECONDS)


def _device(row: GpuRow, device: Device) -> dict[str, Any]:
    share = None
    if device.memory_total and device.memory_used is not None:
        share = round(device.memory_used / device.memory_total, 3)
    return {
        "node": row.node,
        "type": device.type or device.name,
        "index": device.index,
        "pretended": device.pretended,
        "utilisation": None if device.utilisation is None else round(device.utilisation, 3),
        "memory": share,
        "memory_total": device.memory_total,
        "temperature": None if device.temperature is None else round(device.temperature),
        "problem": device.problem,
    }


def _bare(row: GpuRow) -> dict[str, Any]:
    """A row of which only the number is known: pretended GPUs, or those that Ray was told of."""
    unknown = dict.fromkeys(("utilisation", "memory", "memory_total", "temperature"))
    index = say("gpu.times", count=row.count) if row.count > 1 else ""
    base = {"node": row.node, "type": row.type, "index": index, "pretended": row.pretended, "problem": ""}
    return {**base, **unknown}


class GpuChart(Live):
    """The live chart of a GPU report."""

    _esm = asset("words.js", "live.js", "gpu_chart.js")
    _css = asset("card.css")

    def __init__(self, report: GpuReport) -> None:
        key = f"gpus/{report.where}"
        known = feed().source(key)
        self._source: GpuSource = known if isinstance(known, GpuSource) else GpuSource(report)
        super().__init__(self._source.document(), key=key, source=self._source)

    def whole_now(self) -> dict[str, Any]:
        """The document, with the readings of the last minutes."""
        return {**super().whole_now(), "history": [[round(at, 1), now] for at, now in [*self._source.history]]}

    def static_html(self) -> str:
        """The report as HTML."""
        return self._source.report._repr_html_()

    def __repr__(self) -> str:
        return str(self._source.report)
