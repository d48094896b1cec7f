"""The notebook's face in a real kernel: progress in place, failing cells, interrupts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

PROGRAMS = Path(__file__).parent / "programs"
LOAD = f"import sys; sys.path.insert(0, {str(PROGRAMS)!r}); import count_verb\n%load_ext azray_lab"
Until = Callable[[Callable[[], Any], str], Any]


def unexecuted(*cells: str) -> Any:
    """A notebook of these code cells."""
    made = [nbformat.v4.new_code_cell(text) for text in cells]  # type: ignore[no-untyped-call]
    return nbformat.v4.new_notebook(cells=made)  # type: ignore[no-untyped-call]


def executed(*cells: str) -> Any:
    """A notebook of these cells after `LOAD`, executed in a kernel of its own by nbclient, errors and all."""
    notebook = unexecuted(LOAD, *cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return notebook


def test_progress_is_one_display_and_the_value_is_the_result(folder):
    """A verb that waits shows one display, updated in place, in HTML and text; its value is the cell's result."""
    (folder / "go").touch()
    outputs = executed(f"%azray count {folder}").cells[1].outputs
    displays = [output for output in outputs if output.output_type == "display_data"]
    assert len(displays) == 1
    assert "count: done" in displays[0].data["text/plain"]
    assert "<table" in displays[0].data["text/html"]
    assert [o.data["text/plain"] for o in outputs if o.output_type == "execute_result"] == ["counted 2"]
    assert not [o for o in outputs if o.output_type == "stream"]


def test_no_wait_leaves_the_kernel_free_and_draws_below_its_cell(folder):
    """With --no-wait the next cells run; the progress goes on below the first one, and into no other."""
    cells = executed(
        f"p = %azray count {folder} --no-wait",
        f"import pathlib; print(p.done); pathlib.Path({str(folder)!r}, 'go').touch()",
        "print(p.result(110).data)",
        "import threading; [t.join() for t in threading.enumerate() if t.name == 'azray-progress']",
    ).cells
    assert "count: done" in cells[1].outputs[0].data["text/plain"]
    assert [o.text for o in cells[2].outputs] == ["False\n"]
    # A busy kernel sends what a cell prints in several pieces.
    assert "".join(o.text for o in cells[3].outputs) == "{'count': 2}\n"


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("dwon", "UsageError", "the nearest is 'down'"),
        ("count FOLDER --fail", "StartError", "it was told to fail"),
        ("count FOLDER --bug", "ZeroDivisionError", ""),
    ],
)
def test_error_fails_the_cell(folder, line, name, words):
    """Wrong use, our errors and bugs each fail the cell for nbclient, and so for papermill, with their own name."""
    (folder / "go").touch()
    notebook = unexecuted(LOAD, f"%azray {line.replace('FOLDER', str(folder))}")
    with pytest.raises(CellExecutionError) as caught:
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert caught.value.ename == name
    assert words in caught.value.evalue


def test_our_error_is_one_line_in_the_notebook(folder):
    """The saved output of our error is one line; that of a bug has its traceback."""
    (folder / "go").touch()
    _, ours, bug = executed(f"%azray count {folder} --fail", f"%azray count {folder} --bug").cells
    assert [len(o.traceback) for o in ours.outputs if o.output_type == "error"] == [1]
    assert [len(o.traceback) > 1 for o in bug.outputs if o.output_type == "error"] == [True]


@pytest.fixture
def kernel() -> Iterator[tuple[Any, BlockingKernelClient]]:
    """A kernel with the extension, and a client of it."""
    manager, client = start_new_kernel(kernel_name="python3", env=dict(os.environ))
    client.execute_interactive(LOAD, timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_interrupt_cancels_and_cleans_up(kernel, folder, until: Until):
    """Interrupting the cell cancels the operation, waits for its clean-up and fails the cell in one line."""
    manager, client = kernel
    message = client.execute(f"%azray count {folder}")
    until((folder / "began").exists, "the second stage")
    manager.interrupt_kernel()
    reply = answer(client, message)
    assert reply["ename"] == "CancelledError"
    assert "interrupted" in reply["evalue"]
    assert (folder / "cleaned").exists()
    assert client.execute_interactive("1", timeout=60)["content"]["status"] == "ok"


def test_tab_in_a_kernel(kernel):
    """The kernel's own completion offers verbs, and replaces just what was typed."""
    _, client = kernel
    content = answer(client, client.complete("c = %azray st", 13))
    assert content["matches"] == ["status"]
    assert (content["cursor_start"], content["cursor_end"]) == (11, 13)


def answer(client: BlockingKernelClient, message: str) -> Any:
    """The reply to `message` on the shell channel."""
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"]["msg_id"] == message:
            return reply["content"]
