"""Views: text, HTML and JSON of tables, operations and clusters."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest

from azray_lab import views
from azray_lab.errors import StartError
from azray_lab.operation import Event, Operation, Row
from azray_lab.targets.base import LeaseStatus, MountStatus

EVIL = "<script>alert('x')</script>\"&"


class Strict(HTMLParser):
    """Collects tags and attributes, and fails on a tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers a tag."""
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Closes the last tag."""
        assert self.open.pop() == tag


def table() -> views.Table:
    """A table with something nasty in each place."""
    return views.Table(EVIL, ("name", "state"), [(EVIL, "running"), ("b", EVIL)])


def test_table_html_is_escaped_and_has_headers() -> None:
    """Nothing of the data becomes markup; columns and rows have headers with a scope."""
    html = table()._repr_html_()
    parsed = Strict(html)
    assert "<script" not in html
    assert [a["scope"] for tag, a in parsed.tags if tag == "th"] == ["col", "col", "row", "row"]
    assert "caption" in [tag for tag, _ in parsed.tags]


def test_state_is_a_word_beside_its_colour() -> None:
    """A state is never told by colour alone, and its colour has a fallback outside of Jupyter."""
    html = table()._repr_html_()
    assert '<span style="color:var(--jp-success-color1,#2e7d32);font-weight:600">running</span>' in html


def test_table_text_is_aligned_and_its_json_are_its_rows() -> None:
    """Columns stand below each other; without data of its own, JSON is one object a row."""
    shown = views.Table("t", ("name", "state"), [("a", "running"), ("longer", "lost")])
    assert str(shown).splitlines() == ["NAME    STATE", "a       running", "longer  lost"]
    assert json.loads(json.dumps(shown.to_dict())) == [
        {"name": "a", "state": "running"},
        {"name": "longer", "state": "lost"},
    ]


def test_empty_table_says_its_title() -> None:
    """Without rows the title is said, in text and in HTML."""
    empty = views.Table("no clusters", ("name",), [], [])
    assert str(empty) == "no clusters"
    assert "no clusters" in empty._repr_html_()
    assert empty.to_dict() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.44, "0.4 s"), (75, "75 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_durations_are_for_people(value: float, text: str) -> None:
    """A duration is told in the two units that matter."""
    assert views.seconds(value) == text


def ended(work: Any, expected: dict[str, float] | None = None) -> Operation[None]:
    """An operation that has done `work`."""
    operation: Operation[None] = Operation("up a", expected=expected)
    operation.start(work).wait(10)
    return operation


def test_operation_html_tells_its_stages_without_javascript() -> None:
    """Stages are rows of a table, the sentence alone is a live region, and times stand outside of it."""

    def work(operation: Operation[None]) -> None:
        with operation.stage("gcs") as stage:
            stage.progress(0.5, EVIL)
        operation.note(EVIL)

    html = views.operation_html(ended(work))
    parsed = Strict(html)
    assert "<script" not in html
    assert [a.get("aria-live") for _, a in parsed.tags if a.get("role") == "status"] == ["polite"]
    assert "up a: done</p>" in html


def test_failed_operation_says_why() -> None:
    """Text and HTML of a failed operation hold the error's words."""

    def work(operation: Operation[None]) -> None:
        with operation.stage("gcs"):
            raise StartError("gcs did not start", cause="no memory", next_step="free some")

    operation = ended(work)
    assert views.outcome(operation) == "failed"
    assert "no memory" in views.operation_html(operation)
    assert "gcs  failed" in views.operation_text(operation)


def test_waiting_outside_of_a_stage_is_told_by_the_last_one() -> None:
    """A reason that names no stage is shown with the stage that began last, while that waits."""
    seen = []

    def work(operation: Operation[None]) -> None:
        with operation.stage("gcs"):
            operation.emit("waiting", "", "the port is silent")
            seen.append(views.operation_text(operation))

    assert "the port is silent" not in views.operation_text(ended(work))
    assert "the port is silent" in seen[0]


def test_cancelled_is_not_failed() -> None:
    """An operation that the user ended is called cancelled."""
    operation: Operation[None] = Operation("up a")
    operation.cancel("enough")
    operation.start(lambda o: o.check()).wait(10)
    assert views.outcome(operation) == "cancelled"


def test_remaining_time_comes_from_earlier_runs() -> None:
    """What is left is what the stages not yet begun took before, and the rest of the running one."""
    rows = [Row("gcs", "done", 0.0, 1.0), Row("raylet", "running", 1.0)]
    assert views.remaining(rows, {"gcs": 1.0, "raylet": 3.0, "dashboard": 2.0}, now=2.0) == 4.0
    assert views.remaining(rows, {}, now=2.0) is None


def test_event_lines_leave_out_what_is_not_worth_one() -> None:
    """The end of an operation is told by the face, and a bare fraction is no line."""
    assert views.event_line(Event("result", "", 1.0)) == ""
    assert views.event_line(Event("progress", "copy", 1.0, fraction=0.5)) == ""
    assert (
        views.event_line(Event("waiting", "gcs", 1.25, "port 1 is silent")) == "   1.2 s  gcs waiting: port 1 is silent"
    )


@dataclass
class Node:
    """A node as the view wants it."""

    name: str = "head"
    role: str = "head"
    state: str = "running"
    reason: str = EVIL
    resources: dict[str, float] = field(default_factory=lambda: {"CPU": 2.0, "memory": 2.0**31, "node:10.0.0.1": 1.0})
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Status:
    """A cluster as the view wants it."""

    name: str = "a"
    target: str = "local"
    state: str = "degraded"
    reason: str = "worker-1 died"
    nodes: tuple[Node, ...] = (Node(),)
    address: str = "127.0.0.1:6379"
    dashboard_url: str = "http://127.0.0.1:8265"
    lease: LeaseStatus = field(default_factory=lambda: LeaseStatus(idle=1800))
    mounts: tuple[MountStatus, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return {"name": self.name, "state": self.state}


def test_columns_of_remarks_are_drawn_where_there_is_one() -> None:
    """The reason of nodes and the message of stages take no column when all are empty."""
    quiet = Status(nodes=(Node(reason=""),))
    assert "REASON" not in str(views.status(quiet))
    assert ">reason<" not in views.status(quiet)._repr_html_()
    assert ">reason<" in views.status(Status(nodes=(Node(reason="worker-1 died"),)))._repr_html_()
    operation: Operation[None] = Operation("up a")
    with operation.stage("gcs"):
        assert ">message<" not in views.operation_html(operation)
    with operation.stage("raylet", "waits"):
        assert ">message<" in views.operation_html(operation)


def test_status_says_state_reason_and_nodes() -> None:
    """The status names the state with its reason, where the cluster answers, and what each node has."""
    view = views.status(Status())
    assert str(view).splitlines()[0] == "a: degraded (local): worker-1 died"
    assert "CPU 2, memory 2.0 GiB" in str(view)
    assert "lease: idle 30 min 0 s" in str(view)
    assert "node:10" not in str(view)
    assert view.to_dict() == {"name": "a", "state": "degraded"}
    Strict(view._repr_html_())
    assert "<script" not in view._repr_html_()
