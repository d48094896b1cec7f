"""Cards in a real kernel: what a front end gets on the wire, while cells run, and what papermill gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.manager import KernelManager

    from azray_lab.testing.ray_dashboard import FakeRay

WIDGET = "application/vnd.jupyter.widget-view+json"
IMPORT = "import azray_lab, time"


class FrontEnd:
    """What a front end with widgets sees of a kernel: it keeps every message that the kernel publishes."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.messages: list[Any] = []

    def run(self, code: str) -> list[Any]:
        """Runs a cell as a person's front end does, and returns what was published during it."""
        before = len(self.messages)
        reply = self.client.execute_interactive(code, timeout=120, output_hook=self.messages.append, allow_stdin=True)
        assert reply["content"]["status"] == "ok", reply["content"]
        return self.messages[before:]

    def run_cell(self, cell: str, code: str) -> None:
        """Runs a cell as JupyterLab does, which names it; what is published is read by the next `run`."""
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        asked = self.client.session.msg("execute_request", content, metadata={"cellId": cell})
        self.client.shell_channel.send(asked)
        reply = self.client.get_shell_msg(timeout=120)
        assert reply["parent_header"]["msg_id"] == asked["header"]["msg_id"]
        assert reply["content"]["status"] == "ok", reply["content"]

    def patches(self, model: str) -> list[Any]:
        """The changes of one widget so far."""
        states = [
            m["content"]["data"].get("state", {}) for m in self.kept("comm_msg") if m["content"]["comm_id"] == model
        ]
        return [state["patch"] for state in states if "patch" in state]

    def kept(self, kind: str) -> list[Any]:
        """The messages of one kind."""
        return [message for message in self.messages if message["msg_type"] == kind]


@pytest.fixture(scope="module")
def front() -> Iterator[FrontEnd]:
    """A kernel that has imported us, and nothing of magics."""
    manager, client = start_new_kernel(kernel_name="python3", env=dict(os.environ))
    front = FrontEnd(manager, client)
    front.run(IMPORT)
    yield front
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def displays(messages: list[Any]) -> list[Any]:
    """The data of what was displayed."""
    return [m["content"]["data"] for m in messages if m["msg_type"] in {"display_data", "execute_result"}]


def test_importing_the_package_loads_no_widgets(front: FrontEnd):
    """A kernel pays nothing for the import; widgets come in a thread, when a public name is first used."""
    front.run("import sys; assert 'ipywidgets' not in sys.modules and 'ray' not in sys.modules")


def test_a_cluster_as_last_value_is_a_card_with_text_and_html_beside_it(front: FrontEnd, ray: FakeRay):
    """One output, whose widget is open by then; front ends without widgets have HTML and text that name every node."""
    ray.register("value")
    messages = front.run("azray_lab.attach('value')")
    (data,) = displays(messages)
    opened = {m["content"]["comm_id"]: m["content"]["data"]["state"] for m in front.kept("comm_open")}
    state = opened[data[WIDGET]["model_id"]]
    assert state["whole"]["document"]["state"] == "running"
    assert "worker-2" in data["text/html"]
    assert "value: running" in data["text/plain"]
    assert "worker-2" in data["text/plain"]


def test_the_same_cell_shows_one_card(front: FrontEnd, ray: FakeRay):
    """What has been displayed is not shown a second time as the cell's value."""
    ray.register("once")
    assert len(displays(front.run("c = azray_lab.attach('once')\ndisplay(c)\nc"))) == 1
    assert len(displays(front.run("c"))) == 1
    assert displays(front.run("c;")) == []


# All open widgets of the kernel, and all listeners of the feed.
_COUNT = """
from ipywidgets.widgets.widget import _instances
from azray_lab.widgets.feed import feed
def count(): return len(_instances), sum(len(channel.listeners) for channel in feed()._channels.values())
"""


def test_a_cell_that_runs_again_leaves_no_widget_and_no_listener_behind(front: FrontEnd, ray: FakeRay):
    """Twenty runs cost as much as one: what a cell showed before is closed, with its layout and its parts."""
    ray.register("again")
    front.run(_COUNT + "c = azray_lab.attach('again'); before = count()")
    cells = {"card": "c", "dashboard": "azray_lab.dashboard()", "gpus": "azray_lab.gpus()"}
    for cell, code in cells.items():
        front.run_cell(cell, code)
    front.run("first = count(); assert first[1] == before[1] + 3, (before, first)")
    for _ in range(20):
        for cell, code in cells.items():
            front.run_cell(cell, code)
    front.run("assert count() == first, (count(), first)")
    for cell in cells:  # edited, so that they show nothing any more
        front.run_cell(cell, "1")
    front.run("assert count() == before, (before, count())")


def test_what_another_cell_shows_is_not_closed(front: FrontEnd):
    """A widget that a variable keeps stays open as long as any cell shows it; with the last of them it is closed."""
    front.run(_COUNT + "before = count()")
    front.run_cell("makes", "kept = d = azray_lab.dashboard(); d")
    front.run_cell("shows", "d")
    front.run_cell("makes", "d = azray_lab.dashboard(); d")
    front.run("assert kept.comm is not None and kept.table.comm is not None")
    front.run_cell("shows", "display(d); kept")
    front.run("assert kept.comm is not None and d.comm is not None")
    front.run_cell("shows", "d")
    front.run("assert kept.comm is None and d.comm is not None")
    for cell in ("makes", "shows"):
        front.run_cell(cell, "1")
    front.run("assert count() == before, (before, count())")


def test_where_cells_have_no_names_what_nobody_has_drawn_is_bounded(front: FrontEnd, ray: FakeRay):
    """A front end that does not name its cells keeps the last widgets that were never drawn, and all that were."""
    ray.register("nameless")
    front.run(_COUNT + "from azray_lab.widgets.card import card_for\nfrom azray_lab.widgets.cells import _UNSEEN")
    front.run("drawn = card_for('nameless'); drawn._handle_custom_msg({'do': 'look'}, []); drawn")
    for _ in range(40):
        front.run("azray_lab.attach('nameless')")
    front.run("assert len(feed()._channels['cluster/nameless'].listeners) == _UNSEEN + 1")
    front.run("assert drawn.comm is not None")
    front.run("from azray_lab.widgets import cells\nfor card in list(cells._cells['']): card.close()")


@pytest.mark.slow
def test_a_card_is_live_while_a_cell_runs_and_prints_into_none(front: FrontEnd, ray: FakeRay):
    """Changes arrive during a long cell, as patches of what changed, and no cell's output gets a word."""
    ray.register("live")
    (data,) = displays(front.run("azray_lab.attach('live')"))
    front.run("from azray_lab.widgets.feed import feed")
    model = data[WIDGET]["model_id"]
    ray.use("worker-1", cpu=3.0)
    front.run(_BUSY.format(condition="shown.document['usage']['cpu'] == [3.0, 12.0]"))
    changed = [patch["change"] for patch in front.patches(model) if "nodes" in patch["change"]]
    assert {"worker-1": {"cpu": [3.0, 4.0]}} in [change["nodes"] for change in changed]
    ray.kill()
    front.run(_BUSY.format(condition="shown.document['state'] == 'lost'"))
    assert front.kept("stream") == []
    assert front.kept("error") == []


# Keeps the kernel busy until the card has sent it.
_UNTIL = """
deadline = time.monotonic() + 50
while not ({condition}):
    assert time.monotonic() < deadline
    time.sleep(0.05)
"""
_BUSY = "shown = feed()._channels['cluster/live'].listeners[0].__self__" + _UNTIL


@pytest.fixture
def mute(front: FrontEnd) -> Iterator[Callable[[str], None]]:
    """A front end that runs cells and does nothing else: it says nothing to a widget, and reads nothing of the output.

    It is subscribed to the output, so that what it does not read piles up. A cell that is not done in 60 s fails.
    """
    client = front.manager.client()
    client.start_channels(hb=False)

    def run(code: str) -> None:
        asked = client.execute(code, allow_stdin=True)
        reply = client.get_shell_msg(timeout=60)
        assert reply["parent_header"]["msg_id"] == asked
        assert reply["content"]["status"] == "ok", reply["content"]

    yield run
    client.stop_channels()


# A wait of some hundredths of a second for an answer to each would take longer than a cell may.
_MANY = 3000


@pytest.mark.slow
def test_a_front_end_that_never_answers_holds_nobody(mute: Callable[[str], None], ray: FakeRay):
    """Cards open, change, beat and close, in cells and in the feed's thread, while nobody reads or answers anything."""
    ray.register("silent")
    mute(
        "from azray_lab.widgets.feed import feed, quiet\nfrom azray_lab.widgets.card import card_for\nsaid = quiet.said"
    )
    mute("cards = [card_for('silent') for _ in range(3)]\nfor card in cards: display(card)")
    ray.use("worker-1", cpu=3.0)
    mute(_UNTIL.format(condition="all(card.document['usage']['cpu'] == [3.0, 12.0] for card in cards)"))
    mute(f"card = cards[0]\nfor n in range({_MANY}): card.show({{**card.document, 'reason': str(n)}}); card.beat()")
    mute("turns = feed().turns\nfeed().refresh('cluster/silent')")
    mute(_UNTIL.format(condition="feed().turns > turns and card.document['reason'] == ''"))
    mute("for card in cards: card.close()")
    mute(_UNTIL.format(condition="feed().source('cluster/silent') is None"))
    mute("assert quiet.said == said")


def test_papermill_gets_text_and_html_and_no_widget(ray: FakeRay):
    """Where nobody sits, the same cell is what it was: the status as text and HTML, and no widget state."""
    ray.register("paper")
    cells = [nbformat.v4.new_code_cell(text) for text in (IMPORT, *_PAPER)]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[1].outputs
    assert set(output.data) == {"text/plain", "text/html"}
    assert "paper: running" in output.data["text/plain"]
    (table,) = notebook.cells[2].outputs
    assert set(table.data) == {"text/plain", "text/html"}
    assert "paper" in table.data["text/plain"]
    assert notebook.cells[3].outputs == []
    assert "widgets" not in notebook.metadata


# The last cell fails when a thread feeds anything.
_PAPER = (
    "azray_lab.attach('paper')",
    "azray_lab.dashboard()",
    "from azray_lab.widgets.feed import feed; assert not feed().running",
)
