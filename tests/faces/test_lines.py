"""What a log gets of an operation, where nothing can be drawn in place."""

from __future__ import annotations

from collections.abc import Iterator

from azray_lab.cli.drawing import PlainLines
from azray_lab.operation import Event, Operation
from azray_lab.verbs.lines import LogLines


def _copy(seconds: float, files: int = 120) -> Iterator[Event]:
    yield Event("started", "copy", 0.0)
    for number in range(1, files + 1):
        share = number / files
        yield Event("progress", "copy", share * seconds, f"{number} of {files}", share)
    yield Event("done", "copy", seconds, f"{files} files")


def test_a_short_stage_is_its_begin_and_its_end():
    """A copy of 0.2 seconds tells no percent."""
    assert LogLines().of(_copy(0.2)) == ["   0.0 s  copy started", "   0.2 s  copy done: 120 files"]


def test_a_long_stage_is_told_by_tens_of_percent():
    """Ten minutes are ten steps and what takes longer than ten seconds without one; never a line for a percent."""
    shares = [line.split()[4].rstrip(":") for line in LogLines().of(_copy(60.0, 1000)) if "progress" in line]
    assert shares == ["10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%", "100%"]
    assert sum("progress" in line for line in LogLines().of(_copy(600.0, 10_000))) <= 60


def test_progress_without_a_share_is_told_every_ten_seconds():
    """Where nobody knows how much there is, time alone decides; each stage has its own."""
    lines, events = LogLines(), [Event("progress", "remove", float(at), f"{at} removed") for at in range(41)]
    assert [line.split()[-2] for line in lines.of(events)] == ["10", "20", "30", "40"]
    assert lines.of([Event("progress", "copy", 41.0, "1 of 2", 0.5)]) == []
    assert len(lines.of([Event("note", "", 41.0, "a note"), Event("waiting", "copy", 41.0, "asleep")])) == 2


def test_what_is_no_terminal_gets_those_lines(capsys):
    """The terminal's face writes them to stderr, whatever the verb: 120 steps of a moment are no line."""
    operation: Operation[None] = Operation("copy")

    def work(this: Operation[None]) -> None:
        with this.stage("copy") as stage:
            for number in range(120):
                stage.progress(number / 120, f"{number} of 120")

    operation.run(work)
    PlainLines(operation).draw()
    assert len(capsys.readouterr().err.splitlines()) <= 3
