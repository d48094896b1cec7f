"""The form in a kernel, with the messages that a front end exchanges: what a cell leaves, and what is answered when."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

WIDGET = "application/vnd.jupyter.widget-view+json"
COUNT = "from ipywidgets.widgets import widget; len(widget._instances)"
FORM = 'import azray_lab\nform = azray_lab.ui({"name": "a", "workers": 1})\nform'
# A cell that runs until the test lets it end.
BUSY = """import pathlib, time
while not pathlib.Path({go!r}).exists():
    time.sleep(0.02)"""
SECONDS = 60.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[BlockingKernelClient]:
    """A kernel of this module's."""
    manager, client = start_new_kernel(kernel_name="python3", env=dict(os.environ))
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def _send(client: BlockingKernelClient, code: str, cell: str) -> str:
    """Runs `code` as a front end runs the cell of that id."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
    message = client.session.msg("execute_request", content)
    message["metadata"]["cellId"] = cell
    client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


def _run(client: BlockingKernelClient, code: str, cell: str = "other") -> list[Any]:
    """Runs a cell; returns what was published until it had ended."""
    asked = _send(client, code, cell)
    return _until(client, lambda m: _idle(m, asked))


def _idle(message: Any, asked: str) -> bool:
    idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
    return bool(idle and message["parent_header"].get("msg_id") == asked)


def _until(client: BlockingKernelClient, ends: Any) -> list[Any]:
    messages: list[Any] = []
    deadline = time.monotonic() + SECONDS
    while not messages or not ends(messages[-1]):
        messages.append(client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0)))
    return messages


def _value(messages: list[Any]) -> Any:
    (found,) = [m["content"]["data"] for m in messages if m["msg_type"] == "execute_result"]
    return found


def _models(messages: list[Any], **state: Any) -> list[str]:
    """The widgets that were opened with this state."""
    opened = [m["content"] for m in messages if m["msg_type"] == "comm_open"]
    return [o["comm_id"] for o in opened if state.items() <= o["data"]["state"].items()]


def _subshell(client: BlockingKernelClient) -> str:
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    return str(client.get_control_msg(timeout=SECONDS)["content"]["subshell_id"])


def _front(client: BlockingKernelClient, subshell: str, model: str, data: dict[str, Any]) -> None:
    """Sends a widget what a front end with subshells sends it."""
    message = client.session.msg("comm_msg", {"comm_id": model, "data": data})
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)


def _updates(message: Any, name: str) -> bool:
    """Whether a message tells a front end of a change of that trait."""
    return message["msg_type"] == "comm_msg" and name in message["content"]["data"].get("state", {})


def test_a_cell_that_is_run_again_keeps_the_widgets_of_one_form(client):
    """Five runs of one cell leave as many widgets as one; a form that another cell shows as well is left alone."""
    _run(client, FORM, "a")
    _run(client, "form", "b")
    one = int(_value(_run(client, COUNT))["text/plain"])
    for _ in range(4):
        _run(client, FORM, "a")
    # That of cell b, and the last one of cell a.
    assert int(_value(_run(client, COUNT))["text/plain"]) == 2 * one
    _run(client, "form", "b")
    assert int(_value(_run(client, COUNT))["text/plain"]) == one


def test_a_click_is_answered_while_a_cell_runs(client, tmp_path):
    """With a front end that uses subshells, what is typed and then Plan are answered beside a running cell."""
    opened = _run(client, FORM, "click")
    (plan,) = _models(opened, description="Plan")
    cpus = _models(opened, description="CPUs")[0]
    subshell = _subshell(client)
    go = tmp_path / "go"
    busy = _send(client, BUSY.format(go=str(go)), "busy")

    for cores in ("3", "4"):
        _front(client, subshell, cpus, {"method": "update", "state": {"value": cores}, "buffer_paths": []})
        _front(client, subshell, plan, {"method": "custom", "content": {"event": "click"}})
        seen = _until(client, lambda m: _updates(m, "children"))
        assert not any(_idle(m, busy) for m in seen)
        (table,) = [m for m in seen if m["msg_type"] == "comm_open" and "head" in str(m["content"]["data"])][-1:]
        assert f"CPU {cores}," in table["content"]["data"]["state"]["value"]
        assert not any(m["msg_type"] in {"stream", "error"} for m in seen)
    go.touch()
    _until(client, lambda m: _idle(m, busy))


def test_what_is_live_is_answered_while_a_cell_runs(client, tmp_path):
    """So is a click in a card or table: the cell that runs does not hold it."""
    (table,) = [
        message["content"]["comm_id"]
        for message in _run(client, "azray_lab.dashboard()", "table")
        if message["msg_type"] == "comm_open" and "whole" in message["content"]["data"]["state"]
    ]
    subshell = _subshell(client)
    go = tmp_path / "go"
    busy = _send(client, BUSY.format(go=str(go)), "busy")
    _front(client, subshell, table, {"method": "custom", "content": {"do": "whole"}})
    assert not any(_idle(m, busy) for m in _until(client, lambda m: _updates(m, "whole")))
    go.touch()
    _until(client, lambda m: _idle(m, busy))


def test_papermill_keeps_no_widgets():
    """Where nobody can click a cell with a form makes no widget, so that the notebook stays small."""
    cells = [nbformat.v4.new_code_cell(text) for text in (FORM, COUNT)]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert set(notebook.cells[0].outputs[0].data) == {"text/plain", "text/html"}
    assert notebook.cells[1].outputs[0].data["text/plain"] == "0"
    assert "widgets" not in notebook.metadata
    assert len(nbformat.writes(notebook)) < 5000  # type: ignore[no-untyped-call]
