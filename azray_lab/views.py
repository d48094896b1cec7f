"""Text and HTML for people: tables, the rows of an operation, the state of a cluster. Pure functions of values.

The HTML works without JavaScript and without an extension: real tables, words beside colours, Jupyter's `--jp-*`
variables with fallbacks for hosts that have none.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from azray_lab.operation import Event, Operation, Row

# How a face that can do more than text and HTML shows a value (a cluster, a task): true when it has shown it.
shows: list[Callable[[Any], bool]] = []

_FONT = "color:var(--jp-ui-font-color1,inherit);font-family:var(--jp-ui-font-family,sans-serif);font-size:0.9em"
_CELL = "text-align:left;padding:2px 12px 2px 0;vertical-align:top"
# For screen readers only: what is seen says it already, with the times.
_UNSEEN = "position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
_RULE = "border-bottom:1px solid var(--jp-border-color2,#bdbdbd)"

# A colour only repeats what the word beside it says.
_COLOURS = {
    "done": "var(--jp-success-color1,#2e7d32)",
    "running": "var(--jp-success-color1,#2e7d32)",
    "starting": "var(--jp-info-color1,#0277bd)",
    "stopping": "var(--jp-info-color1,#0277bd)",
    "degraded": "var(--jp-warn-color1,#b26a00)",
    "lost": "var(--jp-error-color1,#c62828)",
    "failed": "var(--jp-error-color1,#c62828)",
}


def show(value: Any) -> bool:
    """Lets a face show `value` in its own way, a notebook's card for instance; false when none does."""
    return any(shown(value) for shown in shows)


def escape(value: object) -> str:
    """`value` as text that is safe inside HTML, in an attribute as well."""
    return html.escape(str(value), quote=True)


def seconds(value: float) -> str:
    """A duration for people: `0.4 s`, `75 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if value < 10:  # noqa: PLR2004 - below ten seconds a tenth is worth a digit
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 100:  # noqa: PLR2004 - as people count
        return f"{whole} s"
    for size, large, small in ((86400, "d", "h"), (3600, "h", "min")):
        if whole >= size:
            part = 3600 if large == "d" else 60
            return f"{whole // size} {large} {whole % size // part} {small}"
    return f"{whole // 60} min {whole % 60} s"


@dataclass(frozen=True)
class View:
    """A value that faces can show: its text, its HTML and its JSON. `exit_code` is what a terminal's verb ends with."""

    data: Any
    text: str
    markup: str = ""
    exit_code: int = 0

    def to_dict(self) -> Any:
        """The JSON value that `--json` prints."""
        return self.data

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.markup or f"<pre>{escape(self.text)}</pre>"


@dataclass(frozen=True)
class Table:
    """Rows under named columns; `data` is what `--json` prints, `title` is also said when there are no rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    data: Any = None

    def to_dict(self) -> Any:
        """`data`, or a list with one object a row when there is none."""
        if self.data is not None:
            return self.data
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def __str__(self) -> str:
        if not self.rows:
            return self.title
        return "\n".join(aligned([[c.upper() for c in self.columns], *self.rows]))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return frame(table_html(self.title, self.columns, self.rows))


def aligned(rows: Iterable[Sequence[object]]) -> list[str]:
    """`rows` as lines of text whose columns stand below each other."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def frame(inner: str) -> str:
    """The element that every HTML of ours stands in."""
    return f'<div class="azray" style="{_FONT}">{inner}</div>'


def word(state: str) -> str:
    """A state as HTML: the word, and its colour where it has one."""
    colour = _COLOURS.get(state)
    style = f' style="color:{colour};font-weight:600"' if colour else ""
    return f"<span{style}>{escape(state)}</span>"


def table_html(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with a caption; the first cell of each row is its header, a column named `state` gets its colours."""
    if not rows:
        return f"<p>{escape(title)}</p>"
    head = "".join(f'<th scope="col" style="{_CELL};{_RULE}">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{_row_html(columns, row)}</tr>" for row in rows)
    caption = f'<caption style="text-align:left;padding-bottom:4px">{escape(title)}</caption>'
    inner = f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<table style="border-collapse:collapse">{inner}</table>'


def _told(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """The table without its last column, which is for remarks, where no row has one."""
    if any(row[-1] for row in rows):
        return columns, rows
    return columns[:-1], [row[:-1] for row in rows]


def _row_html(columns: Sequence[str], row: Sequence[object]) -> str:
    cells = [word(str(cell)) if column == "state" else escape(cell) for column, cell in zip(columns, row, strict=True)]
    first, rest = cells[0], cells[1:]
    return f'<th scope="row" style="{_CELL}">{first}</th>' + "".join(f'<td style="{_CELL}">{c}</td>' for c in rest)


# Operations.


def remaining(rows: Sequence[Row], expected: Mapping[str, float], now: float) -> float | None:
    """The seconds that an operation should still take, from what its stages took before; None when nothing is known."""
    if not expected:
        return None
    begun = {row.stage: row for row in rows}
    return sum(_rest(begun.get(stage), usual, now) for stage, usual in expected.items())


def _rest(row: Row | None, usual: float, now: float) -> float:
    if row is None:
        return usual
    return max(usual - (now - row.began), 0.0) if row.state == "running" else 0.0


def row_cells(row: Row, now: float) -> tuple[str, str, str, str]:
    """A stage as four cells: stage, state, time, message."""
    took = seconds((row.ended if row.ended is not None else now) - row.began)
    if row.state == "running" and row.fraction is not None:
        took += f", {row.fraction:.0%}"
    elif row.state == "running" and row.expected:
        took += f" of about {seconds(row.expected)}"
    return row.stage, row.state, took, row.message


def headline(operation: Operation[Any]) -> str:
    """One line about an operation: how it stands, how long it has run, how long it should still take."""
    state, now = outcome(operation), operation.elapsed
    if state != "running":
        return f"{operation.name}: {state} after {seconds(ended(operation))}"
    rest = remaining(stages(operation), operation.expected, now)
    about = f", about {seconds(rest)} left" if rest else ""
    return f"{operation.name}: running for {seconds(now)}{about}"


def outcome(operation: Operation[Any]) -> str:
    """How an operation stands: `running`, `done`, `cancelled` or `failed`."""
    last = operation.events[-1:] if operation.done else ()
    if not last:
        return "running"
    if last[0].kind == "result":
        return "done"
    error = last[0].data.get("error")
    return "cancelled" if isinstance(error, Mapping) and error.get("code") == "Cancelled" else "failed"


def ended(operation: Operation[Any]) -> float:
    """How many seconds an operation ran, until now when it still runs."""
    return operation.events[-1].seconds if operation.done and operation.events else operation.elapsed


def operation_text(operation: Operation[Any]) -> str:
    """An operation as lines of text: its headline, a line for each stage, its notes."""
    lines = aligned(row_cells(row, operation.elapsed) for row in stages(operation))
    return "\n".join([headline(operation), *(f"  {line}" for line in (*lines, *notes(operation.events)))])


def operation_html(operation: Operation[Any]) -> str:
    """An operation as HTML: a sentence that screen readers tell, a table of its stages, and its notes.

    The times stand outside of the live region: they change several times a second, and nobody wants them read out.
    """
    rows = [row_cells(row, operation.elapsed) for row in stages(operation)]
    said = f'<p role="status" aria-live="polite" style="{_UNSEEN}">{escape(sentence(operation))}</p>'
    noted = "".join(f"<p>{escape(note)}</p>" for note in notes(operation.events))
    return frame(said + table_html(headline(operation), *_told(("stage", "state", "time", "message"), rows)) + noted)


def sentence(operation: Operation[Any]) -> str:
    """How an operation stands, without times: its state and the stage it is in, or the error that ended it."""
    state = outcome(operation)
    if state in {"failed", "cancelled"}:
        return f"{operation.name}: {state}: {operation.events[-1].message}"
    running = [row for row in stages(operation) if row.state == "running"]
    if state == "done" or not running:
        return f"{operation.name}: {state}"
    about = f": {running[-1].message}" if running[-1].message else ""
    return f"{operation.name}: {running[-1].stage}{about}"


def stages(operation: Operation[Any]) -> list[Row]:
    """The stages of an operation; what it waits for outside of any stage is told by the one that began last."""
    from azray_lab.operation import fold

    return fold(_placed(operation.events), operation.expected)


def _placed(events: Iterable[Event]) -> Iterator[Event]:
    last = ""
    for event in events:
        last = event.stage if event.kind == "started" else last
        yield replace(event, stage=last) if event.kind == "waiting" and not event.stage else event


def notes(events: Iterable[Event]) -> list[str]:
    """The notes of an operation, each as a line."""
    return [f"note: {event.message}" for event in events if event.kind == "note"]


def event_line(event: Event) -> str:
    """An event as one plain line for a log; an empty string for what is not worth a line."""
    if event.kind == "note":
        return f"note: {event.message}"
    if event.kind in {"result", "error"} or (event.kind == "progress" and not event.message):
        return ""
    about = f": {event.message}" if event.message else ""
    share = f" {event.fraction:.0%}" if event.fraction is not None else ""
    what = f"{event.stage} {event.kind}".strip()
    return f"{event.seconds:6.1f} s  {what}{share}{about}"


# Clusters.


class NodeView(Protocol):
    """What a table of nodes shows of a node."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def role(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def resources(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def labels(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


class LeaseView(Protocol):
    """What the view of a cluster shows of its lease, in seconds."""

    @property
    def idle(self) -> float | None: ...  # noqa: D102
    @property
    def max(self) -> float | None: ...  # noqa: D102


class MountView(Protocol):
    """What the view of a cluster shows of a mounted folder."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def uri(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102


class StatusView(Protocol):
    """What the view of a cluster shows; `targets.base.ClusterStatus` has it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def nodes(self) -> Sequence[NodeView]: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def dashboard_url(self) -> str: ...  # noqa: D102
    @property
    def lease(self) -> LeaseView: ...  # noqa: D102
    @property
    def mounts(self) -> Sequence[MountView]: ...  # noqa: D102
    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102


_NODE_COLUMNS = ("node", "role", "state", "resources", "reason")


def status(state: StatusView) -> View:
    """A cluster as it is: one line, where it answers, and its nodes."""
    rows = [(n.name, n.role, n.state, resources(n.resources, n.labels), n.reason) for n in state.nodes]
    facts = [("address", state.address), ("dashboard", state.dashboard_url), ("lease", _lease(state))]
    facts += [("mount", _mount(mount)) for mount in state.mounts]
    return View(state.to_dict(), _status_text(state, facts, rows), _status_html(state, facts, rows))


def _lease(state: StatusView) -> str:
    """A lease's limits for people; empty without one."""
    terms = state.lease
    limits = [("idle", terms.idle), ("max", terms.max)]
    return ", ".join(f"{name} {seconds(limit)}" for name, limit in limits if limit)


def _mount(mount: MountView) -> str:
    """A mount for people: `az://data at /mnt/data: mounted (hydrate: a read-only copy, because ...)`."""
    about = f": {mount.reason}" if mount.reason else f" ({mount.engine}: {mount.why})"
    return f"{mount.uri} at {mount.path}: {mount.state}{about}"


def _status_text(state: StatusView, facts: list[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"{state.name}: {state.state} ({state.target})" + (f": {state.reason}" if state.reason else "")]
    lines += [f"  {name}: {value}" for name, value in facts if value]
    columns, rows = _told(_NODE_COLUMNS, rows)
    if rows:
        lines += [f"  {line}" for line in aligned([[c.upper() for c in columns], *rows])]
    return "\n".join(lines)


def _status_html(state: StatusView, facts: list[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    reason = f": {escape(state.reason)}" if state.reason else ""
    head = f"<p><strong>{escape(state.name)}</strong>: {word(state.state)} ({escape(state.target)}){reason}</p>"
    items = "".join(f"<li>{escape(name)}: <code>{escape(value)}</code></li>" for name, value in facts if value)
    return frame(head + (f"<ul>{items}</ul>" if items else "") + table_html("nodes", *_told(_NODE_COLUMNS, rows)))


# What says on a node that its GPUs are pretended (`accelerators.labels`, which is above this room).
_GPUS_LABEL, _PRETENDED = "azray.io/gpus", "pretended"


def resources(amounts: Mapping[str, float], labels: Mapping[str, str]) -> str:
    """What a node has, as people read it: `CPU 2, GPU 1 (pretended), memory 5.5 GiB`; `labels` are the node's."""
    shown = {name: amount for name, amount in amounts.items() if not name.startswith(("node:", "object_store"))}
    words = {name: _resource(name, amount) for name, amount in sorted(shown.items())}
    if labels.get(_GPUS_LABEL) == _PRETENDED and "GPU" in words:
        words["GPU"] += " (pretended)"
    return ", ".join(words.values())


def _resource(name: str, amount: float) -> str:
    return f"{name} {amount / 2**30:.1f} GiB" if name == "memory" else f"{name} {amount:g}"
