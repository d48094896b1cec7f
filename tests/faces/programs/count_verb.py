"""A verb for tests: an operation that waits for a file, writes another one when it cleans up, and has two stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from azray_lab import views
from azray_lab.errors import StartError
from azray_lab.operation import Operation, Task
from azray_lab.verbs import tree
from azray_lab.verbs.face import Face, pass_face, verb

if TYPE_CHECKING:
    from collections.abc import Callable

# A colour, a cursor movement, a window's title and a link, as programs write them.
COLOURED = "\x1b[1;31mred\x1b[0m \x1b[2Kline \x1b]0;title\x07\x1b]8;;http://a/\x1b\\link\x1b]8;;\x1b\\\n"

tree.VERBS["count"] = __name__
tree.SHORT_HELP["count"] = "Count."


def task(folder: Path, *, fail: bool) -> Task[int]:
    """Two stages; the second one waits for `folder/go`, and `folder/cleaned` appears when it is cancelled."""

    def work(operation: Operation[int]) -> int:
        with operation.stage("first"):
            operation.note("a note")
        try:
            with operation.stage("second") as stage:
                stage.progress(0.5, "half")
                (folder / "began").touch()
                operation.wait_for((folder / "go").exists, reason="there is no go", seconds=60, stage="second")
                if fail:
                    raise StartError("it did not start", cause="it was told to fail", next_step="azray count", port=1)
        except BaseException:
            with operation.shielded():
                operation.wait_for((folder / "may-clean").exists, reason="cleaning", seconds=60)
            (folder / "cleaned").touch()
            raise
        return 2

    return Task(Operation("count", expected={"first": 0.1, "second": 2.0}), work)


@verb("count", example="azray count .", events=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--fail", is_flag=True)
@click.option("--ask", is_flag=True)
@click.option("--bug", is_flag=True)
@click.option("--colours", is_flag=True)
@click.option("--no-wait", is_flag=True)
@pass_face
def command(face: Face, /, folder: Path, **options: bool) -> Any:
    """Count."""
    if options["bug"]:
        raise ZeroDivisionError
    if options["colours"]:
        face.write(COLOURED)
        face.say(COLOURED.strip())
    if options["ask"] and not face.confirm("Really?"):
        return views.View({"answer": "no"}, "no")
    then: Callable[[int], views.View] = lambda n: views.View({"count": n}, f"counted {n}")  # noqa: E731
    work = task(folder, fail=options["fail"])
    return face.detach("count", work, then) if options["no_wait"] else then(face.follow(work))
