"""All clusters of the registry in one live table, wherever they were made; each row opens its card below the table."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets

from azray_lab import views
from azray_lab.cluster import overview
from azray_lab.errors import AzRayError
from azray_lab.widgets.card import Card, card_for
from azray_lab.widgets.feed import feed, quiet
from azray_lab.widgets.live import Live, asset
from azray_lab.widgets.texts import say

if TYPE_CHECKING:
    from azray_lab.targets.base import Handle

_KEY = "clusters"


class RegistrySource:
    """The registry, for the feed: handles and their states by processes and files, without a request."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._problem = ""

    def read(self) -> bool:
        """Reads all handles; about 0.3 ms each."""
        try:
            self._rows = {handle.name: _row(handle, state) for handle, state in overview()}
            self._problem = ""
        except AzRayError as error:
            self._problem = str(error)
            return False
        return True

    def document(self) -> dict[str, Any]:
        """A row for each cluster, and what our threads would have logged."""
        return {"rows": self._rows, "problem": self._problem, "notes": list(quiet.said)}


def _row(handle: Handle, state: str) -> dict[str, Any]:
    workers = handle.spec.get("workers") or ()
    nodes = 1 + sum(int(group.get("count") or group.get("min") or 0) for group in workers)
    return {"state": state, "target": handle.target, "nodes": nodes, "created": round(handle.created, 1)}


class ClusterTable(Live):
    """The table of all clusters."""

    _esm = asset("live.js", "dashboard.js")
    _css = asset("card.css")

    def __init__(self) -> None:
        self._opened: dict[str, Card] = {}
        self.area = ipywidgets.VBox()
        self._lock = threading.Lock()
        known = feed().source(_KEY)
        source = known if isinstance(known, RegistrySource) else RegistrySource()
        if known is None:
            source.read()
        super().__init__(self._joined(source.document()), key=_KEY, source=source)

    def _joined(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {**document, "opened": dict.fromkeys(self._opened, True)}

    def fed(self, document: Mapping[str, Any]) -> None:
        """The registry's document, with the cards that are open here."""
        super().fed(self._joined(document))

    def heard(self, message: Mapping[str, Any]) -> None:
        """A click on a row's button."""
        if message.get("do") in {"open", "close"}:
            self.toggle(str(message.get("name")), wanted=message["do"] == "open")

    def toggle(self, name: str, *, wanted: bool) -> None:
        """Opens or closes the card of a cluster; doing so twice changes nothing."""
        with self._lock:
            if wanted and name not in self._opened and name in self._source.document()["rows"]:
                self._opened[name] = card_for(name)
            elif not wanted and name in self._opened:
                self._opened.pop(name).close()
            self.area.children = tuple(self._opened.values())
        self.show(self._joined(self._source.document()))

    def close(self) -> None:
        """Ends the table and the cards that it opened; the clusters live on."""
        for card in self._opened.values():
            card.close()
        super().close()

    def table(self) -> views.Table:
        """The table as it is now, for where there is no widget."""
        now = time.time()
        rows = [
            (name, row["state"], row["target"], row["nodes"], views.seconds(max(now - row["created"], 0.0)))
            for name, row in self._source.document()["rows"].items()
        ]
        title = say("clusters") if rows else say("clusters.none")
        columns = [say(f"column.{key}") for key in ("cluster", "state", "target", "size", "age")]
        return views.Table(title, columns, rows)

    def static_html(self) -> str:
        """The table as HTML; it says when that was."""
        at = views.escape(say("static", time=time.strftime("%Y-%m-%d %H:%M:%S")))
        return self.table()._repr_html_() + views.frame(f"<p><small>{at}</small></p>")

    def __repr__(self) -> str:
        return str(self.table())


class Dashboard(ipywidgets.VBox):  # type: ignore[misc]  # published without types
    """The live table, with the cards that were opened below it."""

    def __init__(self) -> None:
        self.table = ClusterTable()
        super().__init__([self.table, self.table.area])

    def close(self) -> None:
        """Ends the dashboard; the clusters live on."""
        self.table.close()
        super().close()

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": repr(self), "text/html": self.table.static_html()}


def dashboard() -> Dashboard:
    """All clusters of the registry, live, also those that a terminal or another notebook made.

    Reads the registry's files and looks at processes; no request. The card of a row asks its cluster.
    """
    return Dashboard()
