"""A job as a value: exit codes as a shell says them, text, HTML, JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from azray_lab.errors import JobFailedError
from azray_lab.jobs import model

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
JOB = model.Job("train-1", "SUCCEEDED", "python train.py", started=BEGAN, ended=BEGAN, node="head", driver_exit_code=0)


@pytest.mark.parametrize(
    ("status", "code", "expected", "words"),
    [
        ("SUCCEEDED", 0, 0, ""),
        ("RUNNING", None, 0, ""),
        ("FAILED", 3, 3, "exit code 3"),
        ("FAILED", -9, 137, "SIGKILL"),
        ("FAILED", 143, 143, "SIGTERM"),
        ("FAILED", 255, 255, "exit code 255"),
        ("FAILED", None, 1, "the reason"),
        ("STOPPED", None, 130, "it was stopped"),
        ("STOPPED", 0, 130, "it was stopped"),
    ],
)
def test_exit_codes(status: str, code: int | None, expected: int, words: str) -> None:
    """A signal n gives 128 + n, being stopped 130, a failure without a code 1."""
    job = replace(JOB, status=status, driver_exit_code=code, message="a traceback\nthe reason\n")
    assert job.exit_code == expected
    assert words in job.ending


def test_a_failed_result_raises_when_asked() -> None:
    """`check` gives the result back, or an error with its facts."""
    assert model.result(JOB).check().id == "train-1"
    with pytest.raises(JobFailedError) as caught:
        model.result(replace(JOB, status="FAILED", driver_exit_code=4)).check()
    assert caught.value.facts == {"job": "train-1", "status": "FAILED", "driver_exit_code": 4}


def test_html_is_escaped() -> None:
    """Nothing that a job says becomes markup."""
    evil = model.result(replace(JOB, entrypoint="<script>", node="<b>", id="<i>"), value="<img>")
    html = evil._repr_html_()
    assert "&lt;script&gt;" in html
    assert not any(tag in html for tag in ("<script>", "<b>", "<i>", "<img>"))


def test_json_is_plain() -> None:
    """The job as JSON has its times in ISO 8601 and no exit code while it runs."""
    data = json.loads(json.dumps(model.result(JOB, value={1, 2}).to_dict()))
    assert data["started"] == "2026-01-02T03:04:05+00:00"
    assert (data["exit_code"], data["value"]) == (0, "{1, 2}")
    assert replace(JOB, status="RUNNING").to_dict()["exit_code"] is None


def test_the_table_has_the_latest_first() -> None:
    """Newest above, long entrypoints cut; the JSON has them whole."""
    later = replace(JOB, id="z", started=BEGAN.replace(year=2027), entrypoint="x" * 200)
    table = model.table([JOB, later])
    assert [row[0] for row in table.rows] == ["z", "train-1"]
    assert max(len(line) for line in str(table).splitlines()) < 120
    assert table.to_dict()[0]["entrypoint"] == "x" * 200


def test_ray_details_become_a_job() -> None:
    """A process that connected by itself has no submission id and no driver node."""
    driver = model.from_ray({"job_id": "01", "submission_id": None, "status": "RUNNING", "entrypoint": ""}, {})
    assert (driver.id, driver.kind, driver.node) == ("01", "driver", "")
    job = model.from_ray(
        {"submission_id": "a", "status": "RUNNING", "driver_node_id": "abcdef0123", "start_time": 1000}, {}
    )
    assert (job.kind, job.node, job.started) == ("job", "abcdef01", datetime.fromtimestamp(1, timezone.utc))
