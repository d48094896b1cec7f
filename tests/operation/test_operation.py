"""Operations: events, stages, waits with a deadline, cancellation that reaches them, and what faces are told."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.errors import AzRayError, CancelledError, DeadlineError, StartError
from azray_lab.operation import Event, Operation, Task, fold, timeline


def _kinds(operation: Operation[Any]) -> list[tuple[str, str]]:
    return [(event.kind, event.stage) for event in operation.events]


def test_stages_become_events_rows_and_a_timeline() -> None:
    """Two stages that end well give started and done each, two finished rows, and a timeline in their order."""
    operation: Operation[str] = Operation("make")

    def work(operation: Operation[str]) -> str:
        with operation.stage("first") as stage:
            stage.progress(0.5, "half", size=3)
            stage.summary = "all of it"
        with operation.stage("second"):
            operation.note("by the way")
        return "made"

    assert operation.run(work) == "made"
    assert _kinds(operation) == [
        ("started", "first"),
        ("progress", "first"),
        ("done", "first"),
        ("started", "second"),
        ("note", ""),
        ("done", "second"),
        ("result", ""),
    ]
    assert [(row.stage, row.state, row.message) for row in fold(operation.events)] == [
        ("first", "done", "all of it"),
        ("second", "done", ""),
    ]
    assert [timing.stage for timing in operation.timeline] == ["first", "second"]
    assert all(timing.seconds >= 0 for timing in operation.timeline)


def test_a_failed_stage_tells_the_error_and_the_result_raises_it() -> None:
    """The stage fails with the error's words, the last event carries the error, and `result` raises that object."""
    operation: Operation[None] = Operation("make")
    error = StartError("it broke", cause="of a reason", next_step="mend it", node="head")

    def work(operation: Operation[None]) -> None:
        with operation.stage("only"):
            raise error

    with pytest.raises(StartError) as caught:
        operation.run(work)
    assert caught.value is error
    assert _kinds(operation) == [("started", "only"), ("failed", "only"), ("error", "")]
    assert json.loads(json.dumps(operation.events[-1].to_dict()))["error"]["facts"] == {"node": "head"}
    assert timeline(operation.events) == ()


def test_every_wait_has_a_deadline_and_tells_its_reason() -> None:
    """A wait for what never comes ends with the reason, the seconds and the next step."""
    operation: Operation[None] = Operation("make")
    with pytest.raises(DeadlineError, match=r"for rain.*azray status") as caught:
        operation.wait_for(lambda: None, reason=lambda: "for rain", seconds=0.05, next_step="azray status")
    assert caught.value.facts == {"seconds": 0.05}


def test_cancelling_reaches_a_wait_and_clean_up_is_shielded() -> None:
    """A waiting thread ends at once when it is cancelled; waits of its clean-up go on, and the reason is told."""
    operation: Operation[None] = Operation("make")
    waiting, cleaned = threading.Event(), []

    def never() -> None:
        waiting.set()

    def work(operation: Operation[None]) -> None:
        try:
            operation.wait_for(never, reason="for nothing", seconds=60)
        except CancelledError:
            with operation.shielded():
                looks = iter([False, False, True])
                cleaned.append(operation.wait_for(lambda: next(looks), reason="cleaning", seconds=10))
            raise

    Task(operation, work).start()
    assert waiting.wait(10)
    operation.cancel("the test asked")
    with pytest.raises(CancelledError, match="the test asked") as caught:
        operation.result(timeout=10)
    assert caught.value.exit_code == 130
    assert cleaned == [True]


def test_another_process_can_ask_to_stop() -> None:
    """A source of cancellation is asked at each wait, and its words are the reason."""
    operation: Operation[None] = Operation("make")
    answers = iter([None, None, "`azray down` was called"])
    operation.cancel_when(lambda: next(answers))
    with pytest.raises(CancelledError, match="azray down"):
        operation.wait_for(lambda: None, reason="for nothing", seconds=60)


def test_ctrl_c_is_a_cancellation() -> None:
    """A KeyboardInterrupt in the work becomes our CancelledError, with the interrupt as its cause."""
    operation: Operation[None] = Operation("make")

    def work(_: Operation[None]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(CancelledError) as caught:
        operation.run(work)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)


def test_a_late_listener_hears_everything_once() -> None:
    """Who subscribes in the middle gets the past first, then the rest, in one order."""
    operation: Operation[None] = Operation("make")
    early: list[Event] = []
    late: list[Event] = []
    operation.subscribe(early.append)

    def work(operation: Operation[None]) -> None:
        with operation.stage("one"):
            operation.subscribe(late.append)

    operation.run(work)
    assert early == late == list(operation.events)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["started", "done", "failed", "progress"]))))
def test_rows_follow_any_stream_of_events(stream: list[tuple[str, Any]]) -> None:
    """Whatever comes in whatever order, there is one row for each stage that began, and its state is its last one."""
    events = [Event(kind, stage, float(i)) for i, (stage, kind) in enumerate(stream)]
    rows = {row.stage: row.state for row in fold(events)}
    assert set(rows) == {event.stage for event in events if event.kind == "started"}
    for stage, state in rows.items():
        begun = next(i for i, e in enumerate(events) if e.stage == stage and e.kind == "started")
        last = [e.kind for e in events[begun:] if e.stage == stage and e.kind != "progress"][-1]
        assert state == ("running" if last == "started" else last)


@pytest.mark.parametrize("name", ["sig", "SIG", "AccountKey", "SharedAccessSignature", "skoid"])
@pytest.mark.parametrize("around", ["{}", "no blob 'https://a.b/c?sp=r&{}&se=2'", "[{}]", "AccountName=a;{};x", "({})"])
def test_errors_repeat_no_secret_of_a_storage_account(name: str, around: str) -> None:
    """Whoever quotes what was typed or what a library said: it is in no part of the error, nor in a pickle of it."""
    text = around.format(f"{name}=S3cr%2Bet/+==")
    import pickle

    error = AzRayError(text, cause=text, next_step=text, uri=text)
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 - its own bytes
        assert "S3cr" not in f"{one} {one!r} {one.args} {one.to_dict()}"
        assert str(one).count(f"{name}=***") == 3
    assert AzRayError("what follows ? has no sig=").message == "what follows ? has no sig="


@given(st.text(), st.text(), st.dictionaries(st.sampled_from(["path", "port"]), st.integers()))
def test_errors_survive_pickling_whole(message: str, cause: str, facts: dict[str, int]) -> None:
    """What Ray and thread pools pickle keeps type, words and facts."""
    import pickle

    error = StartError(message, cause=cause, next_step="go", **facts)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
    assert type(copy) is StartError
    assert copy.to_dict() == error.to_dict()
    assert isinstance(copy, AzRayError)


def test_a_cancellation_ends_what_blocks_it_once():
    """What was told `on_cancel` is called when it comes, at once when it was there already, and behind a shield."""
    called: list[str] = []

    def work(operation: Operation[None]) -> None:
        operation.on_cancel(lambda: called.append("before"))
        with operation.shielded():
            operation.cancel()
            operation.cancel()
            assert called == []
        operation.on_cancel(lambda: called.append("after"))
        raise CancelledError("what it waited for was ended")

    operation: Operation[None] = Operation("try")
    with pytest.raises(CancelledError, match="try was cancelled: interrupted"):
        operation.run(work)
    assert called == ["before", "after"]
