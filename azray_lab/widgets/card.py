"""The card of one cluster: what it is doing, what it has in use, how long it lives, and the buttons that change that.

`card_for` makes one; the kernel's feed keeps it true. Two cards of one cluster show the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar

from azray_lab import views
from azray_lab.cluster import Cluster, attach
from azray_lab.operation import Operation, Task
from azray_lab.widgets.actions import act
from azray_lab.widgets.cluster import ClusterSource, source_of
from azray_lab.widgets.live import Live, asset
from azray_lab.widgets.texts import say

T = TypeVar("T")

# How long the cell that shows a card waits for the cluster's first answer; without one the card fills itself later.
_FIRST_SECONDS = 1.0
# What another card has read so lately need not be read again.
_FRESH_SECONDS = 3.0


def card_for(what: Cluster | Task[Any] | Operation[Any] | str) -> Card:
    """The card of a cluster, of a task or operation that works on one, or of the registered cluster of that name.

    A task need not have begun: the card shows its stages as soon as it runs, and goes on to the running cluster. Costs
    at most one second, when the cluster does not answer. UnknownClusterError for a name that is not registered.
    """
    if isinstance(what, Task | Operation):
        operation = what.operation if isinstance(what, Task) else what
        source = source_of(operation.subject)
        source.follow(operation)
    else:
        cluster = attach(what) if isinstance(what, str) else what
        source = source_of(cluster.name)
        source.knows(cluster.handle)
    if time.monotonic() - source.read_at > _FRESH_SECONDS:
        source.read(_FIRST_SECONDS)
    return Card(source)


class Card(Live):
    """The card of one cluster, as a widget. `close()` ends it; the cluster lives on."""

    _esm = asset("words.js", "live.js", "card.js")
    _css = asset("card.css")

    def __init__(self, source: ClusterSource) -> None:
        self._source: ClusterSource = source
        super().__init__(source.document(), key=source.key, source=source)
        if source.operation:
            self._source.follow(source.operation)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._source.name

    def whole_now(self) -> dict[str, Any]:
        """The document, with what was in use in the last minutes."""
        history = [[round(at, 1), {k: round(v, 3) for k, v in used.items()}] for at, used in [*self._source.history]]
        return {**super().whole_now(), "history": history}

    def heard(self, message: Mapping[str, Any]) -> None:
        """A click on a button."""
        act(self._source, message)

    # How it looks where there is no widget.

    def static_html(self) -> str:
        """The cluster, or the operation, as HTML; it says when that was."""
        status, work = self._source.status, self._source.operation
        if work and not work.done:
            shown = views.operation_html(work)
        elif status:
            shown = views.status(status)._repr_html_()
        else:
            shown = views.frame(f"<p>{views.escape(self.name)}: {views.word(str(self.document['state']))}</p>")
        return shown + views.frame(f"<p><small>{views.escape(_when())}</small></p>")

    def static_text(self) -> str:
        """The cluster, or the operation, as text; it says when that was."""
        status, work = self._source.status, self._source.operation
        if work and not work.done:
            shown = views.operation_text(work)
        else:
            shown = str(views.status(status)) if status else repr(self)
        return f"{shown}\n{_when()}"

    def __repr__(self) -> str:
        key = "repr.reason" if self.document["reason"] else "repr"
        state = say(f"state.{self.document['state']}")
        return say(key, name=self.name, state=state, reason=self.document["reason"])


def _when() -> str:
    """What a saved output says of its age: it stays as it was when the cell ran, while the live card goes on."""
    return say("static", time=time.strftime(say("date")))
