"""The report on GPUs: a value that was read once, and how it looks as text, HTML and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azray_lab import views

if TYPE_CHECKING:
    from azray_lab.accelerators.devices import Device, Reason

_COLUMNS = ("node", "vendor", "type", "count", "memory", "used", "temp.", "driver", "CUDA", "MIG", "NVLink", "held by")
# A column in which nobody told anything is left out; these stay.
_ALWAYS = ("node", "vendor", "type", "count", "held by")
_HOLDERS = ("node", "held by", "GPUs", "memory", "cell", "job")
# What nobody told; a word would say less than an empty-looking cell, and screen readers say "dash".
_UNTOLD = "-"
_ENTRYPOINT_SHOWN = 40


@dataclass(frozen=True)
class Holder:
    """Who holds GPUs of a node: an actor or task of Ray, or a process that Ray does not know.

    `gpus` is how many it asked for (0.5 is half of one; 0 for a process), `memory` the bytes of GPU memory that its
    process has (None when not told), `job` the id of its job and `entrypoint` what that job runs. `cell` is the
    notebook cell that launched it, where this kernel did (`In[3], line 2`), else empty.
    """

    kind: str
    name: str
    id: str = ""
    gpus: float = 0.0
    pid: int | None = None
    memory: int | None = None
    job: str = ""
    entrypoint: str = ""
    cell: str = ""

    def __str__(self) -> str:
        amount = f", {self.gpus:g} GPU" if self.gpus else ""
        memory = f", {_size(self.memory)}" if self.memory else ""
        return f"{self.kind} {self.name}{amount}{memory}" + (f", from {self.cell}" if self.cell else "")

    def cells(self, node: str) -> tuple[str, ...]:
        """It as a row of the table of holders."""
        memory = _UNTOLD if self.memory is None else _size(self.memory)
        job = f"{self.job}: {_short(self.entrypoint)}" if self.entrypoint else self.job
        amount = f"{self.gpus:g}" if self.gpus else _UNTOLD
        return node, f"{self.kind} {self.name}", amount, memory, self.cell or _UNTOLD, job or _UNTOLD


@dataclass(frozen=True)
class GpuRow:
    """The GPUs of one type on one node.

    Over `devices`: the sum of memory (bytes), the mean `utilisation` (0 to 1), the highest `temperature` (degrees
    Celsius), the fewest `nvlink` of one GPU; None where no device tells. `count` is how many there are, or how many
    Ray was told of: pretended GPUs have no devices and no live numbers.
    """

    node: str
    vendor: str
    type: str
    count: int
    memory_used: int | None = None
    memory_total: int | None = None
    utilisation: float | None = None
    temperature: float | None = None
    driver: str = ""
    cuda: str = ""
    mig: tuple[str, ...] = ()
    nvlink: int | None = None
    holders: tuple[Holder, ...] = ()
    pretended: bool = False
    devices: tuple[Device, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpuReport:
    """The GPUs of this machine or of a cluster, as they were at `read` (seconds since 1970).

    `reasons` says for each node why it has none, or fewer or less than one would think. `live` is whether it can be
    read again by its `where` alone; of a given `Host` it cannot.
    """

    where: str
    rows: tuple[GpuRow, ...] = ()
    reasons: dict[str, tuple[Reason, ...]] = field(default_factory=dict)
    read: float = 0.0
    live: bool = True

    @property
    def count(self) -> int:
        """How many GPUs there are, pretended ones included."""
        return sum(row.count for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON, the document of `azray gpus --json`."""
        told = dataclasses.asdict(self)
        del told["live"]  # of use to faces only
        return told

    def tables(self) -> list[tuple[list[str], list[list[str]]]]:
        """All that it tells as tables of words: the GPUs by node and type, and who holds them; columns and rows."""
        found = [self._table(), (list(_HOLDERS), [list(row) for row in self._holders()])]
        return [(columns, rows) for columns, rows in found if rows]

    def _title(self) -> str:
        noun = "GPU" if self.count == 1 else "GPUs"
        pretended = sum(row.count for row in self.rows if row.pretended)
        told = f", {pretended} of them pretended" if 0 < pretended < self.count else ""
        told = ", all pretended" if pretended and pretended == self.count else told
        return f"{self.where}: {self.count or 'no'} {noun}{told}"

    def __str__(self) -> str:
        lines = [*_aligned(*self._table()), *_aligned(_HOLDERS, self._holders()), *self._notes()]
        return "\n".join([self._title(), *(f"  {line}" for line in lines)])

    def _ipython_display_(self) -> None:
        if not views.show(self):
            raise NotImplementedError  # IPython's word for: take the representations below

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        tables = views.table_html(self._title(), *self._table())
        if held := self._holders():
            tables += views.table_html("held by", _HOLDERS, held)
        notes = "".join(f"<li>{views.escape(note)}</li>" for note in self._notes())
        return views.frame(tables + (f"<ul>{notes}</ul>" if notes else ""))

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """The columns in which somebody told something, and the rows."""
        rows = [_cells(row) for row in self.rows]
        shown = [
            number
            for number, name in enumerate(_COLUMNS)
            if name in _ALWAYS or any(row[number] != _UNTOLD for row in rows)
        ]
        return [_COLUMNS[number] for number in shown], [[row[number] for number in shown] for row in rows]

    def _holders(self) -> list[tuple[str, ...]]:
        return [holder.cells(row.node) for row in self.rows for holder in row.holders]

    def why(self) -> list[str]:
        """The reasons as lines that name their nodes; what a hundred nodes have in common is said once."""
        same: dict[str, list[str]] = {}
        for node, reasons in self.reasons.items():
            for reason in reasons:
                same.setdefault(str(reason), []).append(node)
        return [f"{_names(nodes)}: {text}" for text, nodes in same.items()]

    def _notes(self) -> list[str]:
        return [f"{row.node}: {problem}" for row in self.rows for problem in row.problems] + self.why()


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return views.aligned([[column.upper() for column in columns], *rows]) if rows else []


def _names(nodes: Sequence[str], shown: int = 4) -> str:
    more = f" and {len(nodes) - shown} more" if len(nodes) > shown else ""
    return ", ".join(nodes[:shown]) + more


def _cells(row: GpuRow) -> tuple[str, ...]:
    kind = f"{row.type or 'unknown'} (pretended)" if row.pretended else row.type or _UNTOLD
    return (
        row.node,
        row.vendor or _UNTOLD,
        kind,
        str(row.count),
        _memory(row),
        _UNTOLD if row.utilisation is None else f"{row.utilisation:.0%}",
        _UNTOLD if row.temperature is None else f"{row.temperature:.0f} °C",
        row.driver or _UNTOLD,
        row.cuda or _UNTOLD,
        ", ".join(row.mig) or _UNTOLD,
        _UNTOLD if row.nvlink is None else f"{row.nvlink} each",
        _summary(row.holders),
    )


def _short(entrypoint: str) -> str:
    """What a job runs, in a few words; a notebook's kernel is started by a long line that says nothing else."""
    if "ipykernel_launcher" in entrypoint:
        return "a notebook"
    line = " ".join(entrypoint.split())
    return line if len(line) <= _ENTRYPOINT_SHOWN else f"{line[: _ENTRYPOINT_SHOWN - 3]}..."


def _summary(holders: Sequence[Holder]) -> str:
    """Who holds them in a few words: `2 actors, 1 task`."""
    kinds = [holder.kind for holder in holders]
    words = []
    for kind in dict.fromkeys(kinds):
        plural = {"process": "processes"}.get(kind, f"{kind}s")
        words.append(f"{kinds.count(kind)} {kind if kinds.count(kind) == 1 else plural}")
    return ", ".join(words) or "nobody"


def _memory(row: GpuRow) -> str:
    if row.memory_total is None:
        return _UNTOLD
    used = "?" if row.memory_used is None else _size(row.memory_used)
    return f"{used} of {_size(row.memory_total)}"


def _size(value: int) -> str:
    """Bytes for people: `512 MiB`, `79.6 GiB`."""
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def row_of(node: str, devices: Sequence[Device], holders: Iterable[Holder] = (), **changes: Any) -> GpuRow:
    """The row of devices of one vendor and type."""
    first = devices[0]
    used = [d.memory_used for d in devices if d.memory_used is not None]
    total = [d.memory_total for d in devices if d.memory_total is not None]
    busy = [d.utilisation for d in devices if d.utilisation is not None]
    warm = [d.temperature for d in devices if d.temperature is not None]
    links = [d.nvlink for d in devices if d.nvlink is not None]
    row = GpuRow(
        node=node,
        vendor=first.vendor,
        type=first.type or first.name,
        count=len(devices),
        memory_used=sum(used) if used else None,
        memory_total=sum(total) if total else None,
        utilisation=sum(busy) / len(busy) if busy else None,
        temperature=max(warm) if warm else None,
        driver=first.driver,
        cuda=first.cuda,
        mig=_counted([d.mig for d in devices if d.mig]),
        nvlink=min(links) if links else None,
        holders=tuple(holders),
        pretended=first.pretended,
        devices=tuple(devices),
        problems=tuple(f"GPU {d.index}: {d.problem}" for d in devices if d.problem),
    )
    return dataclasses.replace(row, **changes)


def _counted(profiles: Sequence[str]) -> tuple[str, ...]:
    kinds = dict.fromkeys(profiles)
    return tuple(f"{profiles.count(kind)} x {kind}" if profiles.count(kind) > 1 else kind for kind in kinds)
