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
from azray_lab.widgets import cells
from azray_lab.widgets.card import Card, card_for
from azray_lab.widgets.display import interactive
from azray_lab.widgets.feed import ACTION, feed, quiet
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
    return {"state": state, "target": handle.target, "nodes": _size(handle), "created": round(handle.created, 1)}


def _size(handle: Handle) -> int | str:
    """How many nodes its spec asks for; a file that somebody has edited by hand may not tell."""
    try:
        return 1 + sum(int(group.get("count") or group.get("min") or 0) for group in handle.spec.get("workers") or ())
    except (AttributeError, TypeError, ValueError):
        return say("untold")


def _gone(card: Card) -> dict[str, Any]:
    return {"state": str(card.document["state"]), "target": "", "nodes": "", "created": None}


class ClusterTable(Live):
    """The table of all clusters."""

    _esm = asset("words.js", "live.js", "dashboard.js")
    _css = asset("card.css")

    def __init__(self) -> None:
        self._opened: dict[str, Card] = {}
        self._failed = ""
        self.area = ipywidgets.VBox()
        self._lock = threading.Lock()
        known = feed().source(_KEY)
        source = known if isinstance(known, RegistrySource) else RegistrySource()
        if known is None:
            source.read()
        super().__init__(self._joined(source.document()), key=_KEY, source=source)

    def _joined(self, document: Mapping[str, Any]) -> dict[str, Any]:
        opened = dict(self._opened)
        # A cluster that has ended keeps its row as long as its card is open, so that this can be closed.
        gone = {name: _gone(card) for name, card in opened.items() if name not in document["rows"]}
        told = {"rows": {**document["rows"], **gone}, "problem": document["problem"] or self._failed}
        return {**document, **told, "opened": dict.fromkeys(opened, True)}

    def fed(self, document: Mapping[str, Any]) -> None:
        """The registry's document, with the cards that are open here."""
        super().fed(self._joined(document))

    def heard(self, message: Mapping[str, Any]) -> None:
        """A click on a row's button; returns at once, because the card's cluster may not answer."""
        if message.get("do") in {"open", "close"}:
            wanted = {"name": str(message.get("name")), "wanted": message["do"] == "open"}
            threading.Thread(target=self._click, kwargs=wanted, name=f"{ACTION}-open", daemon=True).start()

    def _click(self, name: str, *, wanted: bool) -> None:
        self._failed = ""
        try:
            self.toggle(name, wanted=wanted)
        except Exception as error:  # noqa: BLE001 - nobody else would see it: the dashboard does
            self._failed = str(error) if isinstance(error, AzRayError) else f"{type(error).__name__}: {error}"
            self.show(self._joined(self._source.document()))

    def toggle(self, name: str, *, wanted: bool) -> None:
        """Opens or closes the card of a cluster; doing so twice changes nothing. Costs a second where none answers."""
        with self._lock:
            if wanted and name not in self._opened and name in self._source.document()["rows"]:
                self._opened[name] = card_for(name)
            elif not wanted and name in self._opened:
                self._opened.pop(name).close()
            self.area.children = tuple(self._opened.values())
        self.show(self._joined(self._source.document()))

    def close(self) -> None:
        """Ends the table and the cards that it opened; the clusters live on."""
        for card in list(self._opened.values()):
            card.close()
        super().close()

    def table(self) -> views.Table:
        """The table as it is now, for where there is no widget."""
        return _table(self._source.document()["rows"])

    def static_html(self) -> str:
        """The table as HTML; it says when that was."""
        at = views.escape(say("static", time=time.strftime(say("date"))))
        return self.table()._repr_html_() + views.frame(f"<p><small>{at}</small></p>")

    def __repr__(self) -> str:
        return str(self.table())


def _table(clusters: Mapping[str, Mapping[str, Any]]) -> views.Table:
    now = time.time()
    rows = [
        (name, row["state"], row["target"], row["nodes"], views.seconds(max(now - row["created"], 0.0)))
        for name, row in clusters.items()
    ]
    title = say("clusters") if rows else say("clusters.none")
    columns = [say(f"column.{key}") for key in ("cluster", "state", "target", "size", "age")]
    return views.Table(title, columns, rows)


class Dashboard(ipywidgets.VBox):  # type: ignore[misc]  # published without types
    """The live table, with the cards that were opened below it."""

    def __init__(self) -> None:
        self.table = ClusterTable()
        super().__init__([self.table, self.table.area])

    def close(self) -> None:
        """Ends the dashboard and all its widgets; the clusters live on."""
        self.table.close()
        super().close()
        for part in (self.table.area, self.table.area.layout, self.layout):
            part.close()

    @property
    def seen(self) -> bool:
        """Whether a front end has ever shown it."""
        return self.table.seen

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        cells.shows(self)
        return {**bundle, "text/plain": repr(self), "text/html": self.table.static_html()}


def dashboard() -> Dashboard | views.Table:
    """All clusters of the registry, live, also those that a terminal or another notebook made.

    Reads the registry's files and looks at processes; no request. The card of a row asks its cluster. Where nobody sits
    before a front end, as under papermill or on a terminal, it is the table as it is now.
    """
    return Dashboard() if interactive() else _table({handle.name: _row(handle, state) for handle, state in overview()})
