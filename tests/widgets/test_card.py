"""The card's Python side, over a Ray dashboard on the wire: what it shows, what its buttons do, what goes wrong."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

from azray_lab import registry
from azray_lab.cluster import attach
from azray_lab.durable import read_json, write_json
from azray_lab.errors import StartError, UnknownClusterError
from azray_lab.operation import Operation, Task
from azray_lab.spec.models import MAX_COUNT
from azray_lab.targets.local.processes import ID_VARIABLE, launch
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard
from azray_lab.views import escape
from azray_lab.widgets.card import Card, card_for
from azray_lab.widgets.cluster import source_of
from azray_lab.widgets.dashboard import Dashboard
from azray_lab.widgets.feed import ACTION, THREAD, feed

Until = Callable[[Callable[[], Any], str], Any]


@pytest.fixture
def cards() -> Iterator[list[Card]]:
    """Cards that are closed at the end, and with the last one the feed's thread."""
    opened: list[Card] = []
    yield opened
    for card in opened:
        card.close()


def click(card: Card, do: str, **more: Any) -> None:
    """What the front end sends for a click."""
    card._handle_custom_msg({"do": do, **more}, [])


def test_a_card_shows_state_use_nodes_and_jobs(ray: FakeRay, cards: list[Card]):
    """The first document is complete: three nodes, what they use, the job, and where the dashboard is."""
    ray.register("a")
    ray.use("worker-1", cpu=2.0)
    ray.add_job("job-1", "python train.py")
    cards.append(card_for("a"))
    shown = cards[0].document
    assert (shown["state"], set(shown["nodes"])) == ("running", {"head", "worker-1", "worker-2"})
    assert shown["usage"]["cpu"] == [2.0, 12.0]
    assert shown["nodes"]["worker-1"]["cpu"] == [2.0, 4.0]
    assert shown["usage"]["gpu"] is None
    assert shown["jobs"]["job-1"]["entrypoint"] == "python train.py"
    assert (shown["jobs_known"], shown["most_workers"]) == (True, MAX_COUNT)
    assert shown["dashboard"] == ray.url
    assert repr(cards[0]) == "<card of cluster a: running>"
    assert "worker-2" in cards[0].static_html()


@pytest.mark.slow
def test_a_card_updates_by_itself_and_sends_only_changes(ray: FakeRay, cards: list[Card], until: Until):
    """What changes on the cluster arrives without a call, as a patch of just that."""
    ray.register("a")
    cards.append(card_for("a"))
    sent: list[Any] = []
    cards[0].observe(lambda change: sent.append(change["new"]["change"]), "patch")
    ray.use("worker-2", cpu=1.0)
    until(lambda: cards[0].document["nodes"]["worker-2"]["cpu"] == [1.0, 4.0], "the change")
    (told,) = [change for change in sent if change]
    assert told == {"usage": {"cpu": [1.0, 12.0]}, "nodes": {"worker-2": {"cpu": [1.0, 4.0]}}}
    assert set(cards[0].document["nodes"]) == {"head", "worker-1", "worker-2"}


def test_of_many_jobs_those_that_run_are_shown_and_the_rest_is_counted(ray: FakeRay, cards: list[Card]):
    """Fifty jobs, the running ones first whenever they began; how many more there are and where is in the document."""
    ray.register("a")
    for number in range(30):
        ray.add_job(f"old-{number}", "python old.py")
    for number in range(90):
        ray.add_job(f"done-{number}", "python done.py", status="SUCCEEDED")
    cards.append(card_for("a"))
    shown = cards[0].document
    assert len(shown["jobs"]) == 50
    assert {f"old-{number}" for number in range(30)} < set(shown["jobs"])
    assert shown["left_out"]["jobs"] == {"count": 70, "running": 0, "name": "a"}
    for number in range(21):
        ray.add_job(f"new-{number}", "python new.py")
    source_of("a").read()
    document = source_of("a").document()
    assert {job["status"] for job in document["jobs"].values()} == {"RUNNING"}
    assert document["left_out"]["jobs"] == {"count": 91, "running": 1, "name": "a"}


def test_two_cards_of_one_cluster_agree_and_cost_one_read(ray: FakeRay, cards: list[Card], until: Until):
    """Ten cards ask as much as one, and show the same."""
    ray.register("a")
    cards += [card_for("a") for _ in range(10)]
    asked = ray.asked["/nodes"]
    turns = feed().turns
    ray.use("head", cpu=3.0)
    until(lambda: all(card.document["usage"]["cpu"] == [3.0, 12.0] for card in cards), "all ten cards")
    assert ray.asked["/nodes"] - asked <= feed().turns - turns + 1
    assert len([t for t in threading.enumerate() if t.name == THREAD]) == 1


def test_the_thread_ends_with_the_last_card(ray: FakeRay, until: Until):
    """Closing the cards ends the thread, and nothing asks the cluster any more."""
    ray.register("a")
    first, second = card_for("a"), card_for("a")
    first.close()
    assert feed().running
    second.close()
    until(lambda: not feed().running, "the end of the thread")


def test_closing_leaves_no_widget_behind(ray: FakeRay):
    """Cards and dashboards close what they are made of: their layouts, the table, the cards that it opened."""
    ray.register("a")
    before = set(_instances)
    for _ in range(5):
        shown = Dashboard()
        shown.table.toggle("a", wanted=True)
        for widget in (card_for("a"), shown):
            widget.close()
            widget.close()
    assert set(_instances) == before


def test_a_view_that_is_gone_costs_nothing_until_it_is_back(ray: FakeRay, cards: list[Card], until: Until):
    """A cell that runs again leaves its old card behind: it is fed no more, and a look brings it back."""
    ray.register("a")
    cards.append(card_for("a"))
    click(cards[0], "gone")
    until(lambda: not feed().running, "the end of the thread")
    ray.use("head", cpu=1.0)
    click(cards[0], "look")
    until(lambda: cards[0].document["usage"]["cpu"] == [1.0, 12.0], "the truth after the look")


@pytest.mark.slow
def test_a_cluster_that_dies_under_its_card_is_lost_with_the_reason(ray: FakeRay, cards: list[Card], until: Until):
    """The card says `lost` and why, keeps its thread, and offers Down."""
    ray.register("a")
    cards.append(card_for("a"))
    ray.kill()
    until(lambda: cards[0].document["state"] == "lost", "the loss")
    assert "the head is gone" in cards[0].document["reason"]
    assert not cards[0].document["jobs_known"]
    assert cards[0].document["usage"] == {}
    assert feed().running


@pytest.mark.slow
def test_a_dashboard_that_hangs_is_told_and_others_are_still_fed(ray: FakeRay, cards: list[Card], until: Until):
    """A cluster that answers nothing is degraded with the reason; the card of another one goes on."""
    with run_dashboard(nodes=1) as other:
        ray.register("a")
        other.register("b")
        cards += [card_for("a"), card_for("b")]
        ray.free.clear()
        until(lambda: cards[0].document["state"] == "degraded", "the card of the one that hangs")
        assert "does not answer" in cards[0].document["reason"]
        assert not cards[0].document["jobs_known"]
        other.use("head", cpu=4.0)
        until(lambda: cards[1].document["usage"]["cpu"] == [4.0, 4.0], "the other card")
        ray.free.set()
        click(cards[0], "look")
        feed().refresh("cluster/a")
        until(lambda: cards[0].document["state"] == "running", "its recovery")


def test_the_cell_does_not_wait_for_a_cluster_that_hangs(ray: FakeRay, cards: list[Card]):
    """A new card of a cluster that answers nothing asks once, and not three times."""
    ray.register("a")
    ray.free.clear()
    cards.append(card_for("a"))
    assert ray.asked == {"/api/v0/nodes": 1}
    assert cards[0].document["state"] == "degraded"


def test_an_unknown_name_is_an_error(cards: list[Card]):
    """A card of nothing is refused like everything else about nothing."""
    with pytest.raises(UnknownClusterError):
        cards.append(card_for("nothing"))


def test_html_is_text(ray: FakeRay, cards: list[Card]):
    """What a job or an error is called reaches the page as it is: escaped in HTML, plain in the document."""
    wild = "<img src=x onerror=alert(1)>"
    ray.register("a")
    ray.add_job("job-1", wild)
    cards.append(card_for("a"))
    assert cards[0].document["jobs"]["job-1"]["entrypoint"] == wild
    operation: Operation[None] = Operation("up a", subject="a")
    card = card_for(Task(operation, lambda _: None))
    cards.append(card)
    operation.note(wild)
    assert wild not in card.static_html()
    assert escape(wild) in card.static_html()


def test_html_in_a_node_and_in_an_error_is_text(ray: FakeRay, cards: list[Card]):
    """A node's name is escaped in HTML, and an error's words are plain JSON that the page sets as text."""
    wild = "<img src=x onerror=alert(1)>"
    ray.names[1] = wild
    ray.register("a")
    cards.append(card_for("a"))
    assert wild in cards[0].document["nodes"]
    assert wild not in cards[0].static_html()
    assert escape(wild) in cards[0].static_html()
    source_of("a").tell(StartError(wild, cause="no room", next_step="azray logs"))
    assert source_of("a").document()["error"]["message"] == wild


def test_a_connected_notebook_is_called_that(ray: FakeRay, cards: list[Card]):
    """What starts a kernel is a long line that says nothing else; it cannot be stopped as a job."""
    ray.register("a")
    started = "(interactive_shell) python -m ipykernel_launcher -f kernel-1.json"
    row = {"submission_id": None, "type": "DRIVER", "job_id": "01000000", "status": "RUNNING", "entrypoint": started}
    ray.jobs.append({**row, "start_time": 1000, "end_time": None})
    ray.add_job("job-1", "python -m ipykernel_launcher")
    cards.append(card_for("a"))
    jobs = cards[0].document["jobs"]
    assert (jobs["01000000"]["kind"], jobs["01000000"]["entrypoint"]) == ("driver", "a notebook")
    assert jobs["job-1"]["entrypoint"] == "python -m ipykernel_launcher"


# Operations.


def test_the_card_of_a_task_follows_it_to_the_running_cluster(ray: FakeRay, cards: list[Card], until: Until):
    """Made before the work begins, it shows each stage, its reason and the usual time, and then the cluster."""
    go = threading.Event()
    operation: Operation[None] = Operation("up a", expected={"gcs": 2.0, "workers": 3.0}, subject="a")

    def work(running: Operation[None]) -> None:
        with running.stage("gcs"):
            running.wait_for(go.is_set, reason="the test lets it", seconds=60, stage="gcs")
        ray.register("a")

    cards.append(card_for(Task(operation, work)))
    assert (cards[0].document["state"], cards[0].document["operation"]["stages"]) == ("starting", {})
    operation.start(work)
    until(lambda: _stage(cards[0], "gcs")["message"] == "the test lets it", "the reason of the wait")
    assert cards[0].document["operation"]["expected"] == {"gcs": 2.0, "workers": 3.0}
    go.set()
    until(lambda: cards[0].document["state"] == "running", "the running cluster")
    assert cards[0].document["operation"]["state"] == "done"
    assert _stage(cards[0], "gcs")["state"] == "done"


def _stage(card: Card, name: str) -> dict[str, Any]:
    stage: dict[str, Any] = card.document["operation"]["stages"].get(name, {"message": ""})
    return stage


def test_a_start_that_is_begun_anew_tells_the_earlier_try_as_that(cards: list[Card], until: Until):
    """The stages keep their order; what failed at first is `repeated` without a next step, and at last it is done."""
    operation: Operation[None] = Operation("up a", subject="a")
    again, go = threading.Event(), threading.Event()

    def work(running: Operation[None]) -> None:
        for _ in range(2):
            with contextlib.suppress(StartError), running.stage("gcs"):
                pass
            with contextlib.suppress(StartError):
                if not again.is_set():
                    again.set()
                    with running.stage("dashboard"):
                        raise StartError("the dashboard was too slow", cause="load", next_step="azray up again")
        with running.stage("raylet"):
            running.wait_for(go.is_set, reason="the test lets it", seconds=60, stage="raylet")
        with running.stage("dashboard"):
            pass

    cards.append(card_for(Task(operation, work)))
    operation.start(work)
    until(lambda: _stage(cards[0], "raylet")["message"], "the stage after the second begin")
    stages = cards[0].document["operation"]["stages"]
    assert sorted(stages, key=lambda name: stages[name]["order"]) == ["gcs", "dashboard", "raylet"]
    assert [stages[name]["state"] for name in ("gcs", "dashboard", "raylet")] == ["done", "repeated", "running"]
    assert stages["dashboard"]["message"] == "the dashboard was too slow: load."
    go.set()
    until(lambda: _stage(cards[0], "dashboard").get("state") == "done", "the second try")


def test_a_start_that_fails_shows_message_cause_and_next_step(cards: list[Card], until: Until):
    """The error of the operation is in the card until it is dismissed."""
    operation: Operation[None] = Operation("up a", subject="a")

    def work(_operation: Operation[None]) -> None:
        raise StartError("it did not start", cause="no room", next_step="azray up --workers 1")

    cards.append(card_for(Task(operation, work)))
    operation.start(work).wait(60)
    until(lambda: cards[0].document["error"], "the error")
    error = cards[0].document["error"]
    assert (error["message"], error["cause"]) == ("it did not start", "no room")
    assert error["next_step"] == "azray up --workers 1"
    until(lambda: cards[0].document["state"] == "failed", "the outcome, which comes after the error")
    click(cards[0], "dismiss")
    until(lambda: not cards[0].document["error"], "the dismissal")


@pytest.mark.parametrize("read_between", [True, False])
def test_after_a_failed_scale_a_cluster_that_ends_elsewhere_is_gone_and_the_error_stays(
    ray: FakeRay, cards: list[Card], until: Until, read_between: bool
):
    """`failed` is for a start that came to nothing; a cluster that was there is down, and its error is still told."""
    ray.register("a")
    cards.append(card_for("a"))
    operation: Operation[None] = Operation("scale a", subject="a")

    def work(_operation: Operation[None]) -> None:
        if not read_between:  # nobody has seen it since the scale failed
            registry.forget("a")
        raise StartError("worker-3 did not start", next_step="azray logs")

    operation.start(work).wait(60)
    if read_between:
        until(lambda: cards[0].document["error"] and cards[0].document["state"] == "running", "the word that it failed")
        registry.forget("a")
        feed().refresh("cluster/a")
    until(lambda: cards[0].document["state"] == "down", "its end")
    assert cards[0].document["reason"] == "it was ended"
    assert cards[0].document["error"]["message"] == "worker-3 did not start"
    click(cards[0], "dismiss")
    until(lambda: not cards[0].document["error"], "the dismissal")
    assert cards[0].document["state"] == "down"


def test_a_start_that_failed_and_was_mended_elsewhere_is_down_when_it_ends(
    ray: FakeRay, cards: list[Card], until: Until
):
    """Another terminal starts what failed here: the card shows that cluster, and after its end that it is gone."""
    operation: Operation[None] = Operation("up a", subject="a")

    def work(_operation: Operation[None]) -> None:
        raise StartError("it did not start", next_step="azray logs")

    cards.append(card_for(Task(operation, work)))
    operation.start(work).wait(60)
    until(lambda: cards[0].document["state"] == "failed", "the failure")
    ray.register("a")
    feed().refresh("cluster/a")
    until(lambda: cards[0].document["state"] == "running", "the cluster of the other terminal")
    assert cards[0].document["error"]["message"] == "it did not start"
    registry.forget("a")
    feed().refresh("cluster/a")
    until(lambda: cards[0].document["state"] == "down", "its end")


def test_an_operation_that_another_cell_begins_is_shown(ray: FakeRay, cards: list[Card], until: Until):
    """Whoever scales or ends the cluster in this kernel, its card shows the stages."""
    ray.register("a")
    cards.append(card_for("a"))
    operation: Operation[None] = Operation("scale a", subject="a")

    def work(running: Operation[None]) -> None:
        with running.stage("workers"):
            pass

    operation.run(work)
    until(lambda: cards[0].document["operation"], "the operation")
    until(lambda: _stage(cards[0], "workers").get("state") == "done", "its stage")


# Buttons.


def test_extend_moves_the_lease(ray: FakeRay, cards: list[Card], until: Until):
    """A click moves the end of the lease by an hour, and every card shows it."""
    lease = Path(ray.register("a").details["state_dir"]) / "lease.json"
    end = time.time() + 600
    write_json(lease, {"max": 600, "end": end})
    cards += [card_for("a"), card_for("a")]
    click(cards[0], "extend")
    until(lambda: all(card.document["lease"]["expires"] > end + 3500 for card in cards), "the longer lease")
    assert read_json(lease)["end"] == pytest.approx(end + 3600, abs=5)


def test_a_click_returns_at_once_and_more_of_them_do_no_harm(ray: FakeRay, cards: list[Card], until: Until):
    """While an action is under way its button does nothing, in whichever card; the cards say what is being done."""
    ray.register("a")
    cards += [card_for("a"), card_for("a")]
    with registry.lock("a", Operation("somebody else")):
        for _ in range(100):
            click(cards[0], "down")
            click(cards[1], "down")
        until(lambda: all("down" in card.document["doing"] for card in cards), "the word that it is under way")
        until(lambda: "another process is working" in cards[1].document["said"], "what it waits for")
        assert [t.name for t in threading.enumerate() if t.name.startswith(ACTION)] == [f"{ACTION}-down"]
    until(lambda: not any(card.document["doing"] for card in cards), "its end")
    assert cards[0].document["error"] is None
    assert registry.names() == []


def test_what_goes_wrong_behind_a_button_is_in_the_card(ray: FakeRay, cards: list[Card], until: Until, capsys):
    """An error of ours has its next step, a bug its name; neither is printed anywhere."""
    ray.register("a")
    cards.append(card_for("a"))
    click(cards[0], "stop", job="nothing")
    until(lambda: cards[0].document["error"], "our error")
    assert cards[0].document["error"]["next_step"]
    click(cards[0], "scale", workers="many")
    until(lambda: "ValueError" in (cards[0].document["error"] or {}).get("message", ""), "the bug")
    click(cards[0], "fly")
    cards[0]._handle_custom_msg("not even a message", [])
    assert capsys.readouterr() == ("", "")


def test_stop_ends_the_job_of_the_button_and_no_other(ray: FakeRay, cards: list[Card], until: Until):
    """A click on Stop is one POST for that job; every card shows that it was stopped, and that the other one runs."""
    ray.register("a")
    ray.add_job("job/1", "python train.py")
    ray.add_job("job-2", "python serve.py")
    cards += [card_for("a"), card_for("a")]
    for _ in range(20):
        click(cards[0], "stop", job="job/1")
    until(lambda: all(_status(card, "job/1") == "STOPPED" for card in cards), "the end of the job")
    assert [_status(card, "job-2") for card in cards] == ["RUNNING", "RUNNING"]
    assert cards[1].document["jobs"]["job/1"]["ending"] == "it was stopped"
    assert cards[0].document["error"] is None
    assert ray.asked["/api/jobs/job%2F1/stop"] == 1


def _status(card: Card, job: str) -> str:
    return str(card.document["jobs"][job]["status"])


def test_down_ends_the_cluster_and_the_card_says_so(ray: FakeRay, cards: list[Card], until: Until):
    """After Down the cluster is gone from the registry, and every card shows `down`."""
    ray.register("a")
    cards += [card_for("a"), card_for("a")]
    ray.kill()
    click(cards[0], "down")
    until(lambda: all(card.document["state"] == "down" for card in cards), "the end")
    assert registry.names() == []
    assert "ended" in repr(cards[1])


def test_a_cluster_that_the_registry_has_lost_is_not_called_ended(
    ray: FakeRay, cards: list[Card], until: Until, tmp_path: Path
):
    """Its card says that it runs and is not registered; Down ends its processes, and then it is down."""
    handle = ray.register("a")
    marks = {ID_VARIABLE: handle.id, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = launch(command, marks, log=tmp_path / "log", directory=tmp_path)
    cluster = attach("a")
    ray.kill()
    registry.forget("a")
    cards.append(card_for(cluster))
    until(lambda: "it is not registered, but" in cards[0].document["reason"], "the truth")
    assert cards[0].document["state"] == "lost"
    click(cards[0], "down")
    until(lambda: cards[0].document["state"] == "down", "the end")
    assert not started.alive()
    assert (cards[0].document["reason"], cards[0].document["error"]) == ("it was ended", None)
