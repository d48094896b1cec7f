"""The buttons of the form, Plan and Up: what they start, what they tell, and in which order; without a browser."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import azray_lab
from azray_lab import registry
from azray_lab.errors import CancelledError
from azray_lab.operation import Operation
from azray_lab.widgets.form import Form, ui


@pytest.fixture
def form() -> Form:
    """A form with one worker group, in which nothing is wrong."""
    return ui({"name": "a", "head": {"gpus": {"count": 0}}, "workers": [{"count": 1, "gpus": {"count": 0}}]})


def test_plan_shows_its_table(form, fresh_home):
    """Plan shows the nodes that Up would start, and makes nothing."""
    form.button("plan").click()
    form.wait(60)
    shown = form._view.planned.children[0].value
    assert "worker-1" in shown
    assert "create" in shown
    assert list(fresh_home.glob("clusters/*")) == []
    assert azray_lab.clusters() == []


@pytest.fixture
def held(fresh_home: Path) -> Iterator[Callable[[bytes], None]]:
    """Holds every plan of the cluster `slow`, whose handle is a pipe, until the test calls this with its content."""
    pipe = fresh_home / "clusters" / "slow.json"
    pipe.parent.mkdir(mode=0o700)
    os.mkfifo(pipe)
    left = [pipe]

    def release(content: bytes) -> None:
        # Opening waits for the reader, so that what was held is held until now.
        with left.pop().open("wb") as end:
            end.write(content)

    yield release
    if left:
        release(b"")


@pytest.mark.parametrize("content", [b"", b'{"version": 999}'], ids=["a plan", "an error"])
def test_of_two_plans_the_later_one_is_shown(form, held, content):
    """The answer to an earlier Plan comes last, whether it is a plan or an error: what stands there stays."""
    form.field("name").value = "slow"
    form.button("plan").click()
    (older,) = form._threads
    form.field("name").value = "quick"
    form.button("plan").click()
    form._threads[-1].join(60)
    assert older.is_alive()
    shown, said = form._view.planned.children[0].value, form._view.message.value
    assert "quick on local: create" in shown
    held(content)
    older.join(60)
    assert not older.is_alive()
    assert (form._view.planned.children[0].value, form._view.message.value) == (shown, said)


def test_a_plan_that_comes_after_up_is_not_shown(form, held):
    """What Up says stands until the next press, also when a plan that was asked for before comes in between."""
    form.field("name").value = "slow"
    form.button("plan").click()
    form.field("target").value = "dsvm"
    form.button("up").click()
    said = form._view.message.value
    assert "not in this version" in said
    held(b"")
    form.wait(60)
    assert form._view.message.value == said
    assert not form._view.planned.children


def test_a_plan_that_fails_leaves_none_of_an_earlier_spec(form, fresh_home):
    """The table of an earlier plan goes when the new one has none: it would be taken for this spec's."""
    form.button("plan").click()
    form.wait(60)
    assert form._view.planned.children
    (fresh_home / "timings.json").mkdir()  # where a file is expected
    form.button("plan").click()
    form.wait(60)
    assert "azray-wrong" in form._view.message.value
    assert not form._view.planned.children


@pytest.mark.usefixtures("fresh_home")
def test_a_wrong_form_starts_nothing(form):
    """Plan and Up of a wrong form name the places, in the form's order, and do nothing."""
    form.field("lease.idle").value = "x"
    form.field("head.cpus").value = "x"
    for name in ("plan", "up"):
        form.button(name).click()
        form.wait(60)
        assert "Head node: CPUs, Lease: End when idle for" in form._view.message.value
    assert form.cluster is None
    assert azray_lab.clusters() == []


@pytest.mark.parametrize("name", ["plan", "up"])
def test_what_goes_wrong_is_told_in_the_form(form, fresh_home, name):
    """A target that is not in this version, and a registry that cannot be written, are told with their next step."""
    form.field("target").value = "dsvm"
    form.button(name).click()
    form.wait(60)
    assert "not in this version" in form._view.message.value
    assert 'role="alert"' in form._view.message.value
    form.field("target").value = "local"
    (fresh_home / "timings.json").mkdir()  # where a file is expected
    form.button(name).click()
    form.wait(60)
    assert "azray-wrong" in form._view.message.value


@pytest.mark.usefixtures("fresh_home")
def test_hundreds_of_clicks_begin_one_operation(form, until):
    """While Up is at work, 300 clicks on ten threads do nothing more; with another spec the form says why."""

    def work() -> None:
        for _ in range(30):
            form.button("up").click()

    with registry.lock("a", Operation("somebody else")):
        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [thread.name for thread in threading.enumerate() if "up a" in thread.name] == ["azray-up a"]
        assert len(form._view.card.children) == 1
        assert form._view.message.value == ""
        form.field("head.cpus").value = "2"
        form.button("up").click()
        assert "up a is under way" in form._view.message.value
        until(lambda: form._operation.events, "its wait for the lock")
        form._operation.cancel("by the test")
        form.wait(60)
    with pytest.raises(CancelledError):
        _ = form.cluster
    assert azray_lab.clusters() == []
    form._view.card.children[0].close()


def test_a_bug_is_told_in_the_form(form):
    """What is no error of ours shows its kind and its traceback as text."""

    def bug() -> None:
        raise ZeroDivisionError("<b>")

    form._guarded(bug)()
    assert "ZeroDivisionError: &lt;b&gt;" in form._view.message.value
    assert "<details>" in form._view.message.value
