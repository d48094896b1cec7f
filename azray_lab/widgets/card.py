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
from azray_lab.widgets.feed import feed
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
        source, _ = source_of(operation.subject)
        source.follow(operation)
        return Card(source)
    cluster = attach(what) if isinstance(what, str) else what
    source, _ = source_of(cluster.name)
    if time.monotonic() - source.read_at > _FRESH_SECONDS:
        source.read(_FIRST_SECONDS)
    return Card(source)


class Card(Live):
    """The card of one cluster, as a widget. `close()` ends it; the cluster lives on."""

    _esm = asset("live.js", "card.js")
    _css = asset("card.css")

    def __init__(self, source: ClusterSource) -> None:
        self._source = source
        super().__init__(source.document())
        # Another card may have been first: then that one's source is the one that is fed.
        fed = feed().open(source.key, lambda: source, self._fed)
        if isinstance(fed, ClusterSource) and fed is not source:
            self._source = fed
            if source.operation:
                fed.follow(source.operation)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._source.name

    def whole_now(self) -> dict[str, Any]:
        """The document, with what was in use in the last minutes."""
        history = [[round(at, 1), {k: round(v, 3) for k, v in used.items()}] for at, used in [*self._source.history]]
        return {**super().whole_now(), "history": history}

    def _fed(self, document: Mapping[str, Any]) -> None:
        self.show_or_beat(document)

    def heard(self, message: Mapping[str, Any]) -> None:
        """A look, or a click on a button."""
        if message.get("do") == "look":
            feed().looked(self._source.key)
            self.beat()
        else:
            act(self._source, message)

    def close(self) -> None:
        """Ends the card: it is fed no more, and disappears from the page."""
        feed().close(self._source.key, self._fed)
        super().close()

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
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        return shown + views.frame(f"<p><small>{views.escape(say('static', time=at))}</small></p>")

    def __repr__(self) -> str:
        reason = f": {self.document['reason']}" if self.document["reason"] else ""
        return f"<card of cluster {self.name}: {self.document['state']}{reason}>"
