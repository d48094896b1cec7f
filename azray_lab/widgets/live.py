"""What every live widget of ours is: one document on both sides, and on the wire only what changed in it.

`whole` is the document as it is now, for a front end that opens or comes back; `patch` is the last change, a JSON merge
patch (RFC 7386) with a number. A front end that misses one asks for the whole again. A beat
(`beat: true`) has the number of the last change and none of its own; whoever lacks that change asks for the whole. A
front end that hears nothing for some seconds says that what it shows is not live.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from azray_lab.widgets import cells, nested
from azray_lab.widgets.feed import feed
from azray_lab.widgets.texts import TEXTS

if TYPE_CHECKING:
    from azray_lab.widgets.feed import Source

# A front end takes a widget for dead when it hears nothing for 15 s.
_BEAT_SECONDS = 4.0


@cache
def asset(*names: str) -> str:
    """The text of files beside this module, joined."""
    return "\n".join((resources.files(__package__) / name).read_text(encoding="utf-8") for name in names)


def difference(old: Any, new: Any) -> Any:
    """The JSON merge patch that makes `new` out of the mapping `old`; an empty one when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := difference(before, value):
                patch[key] = inner
        elif before != value:
            patch[key] = value
    return patch


def _whole(_value: Any, widget: Any) -> dict[str, Any]:
    whole: dict[str, Any] = widget.whole_now()
    return whole


class Live(anywidget.AnyWidget):
    """A widget that shows a document; with a `source` one that the kernel's feed keeps true.

    Subclasses give `_esm`, `_css`, `heard`, `fed` and the static form.
    """

    _esm = "export default { render() {} }"
    whole = traitlets.Any().tag(sync=True, to_json=_whole)
    patch = traitlets.Dict().tag(sync=True)

    def __init__(self, document: Mapping[str, Any], *, key: str = "", source: Source | None = None) -> None:
        self._key = key
        self._source: Any = source
        self._following = False
        self._guard = threading.RLock()
        self._document: Mapping[str, Any] = document
        self._number = 0
        self._sent = 0.0
        self.seen = False
        """Whether a front end has ever shown it."""
        super().__init__()
        nested.answer_beside_cells(self)
        self.on_msg(self._received)
        self.follow()

    def follow(self) -> None:
        """Has itself fed; does nothing when it is already."""
        with self._guard:
            if self._source is not None and not self._following:
                self._following = True
                # Where another widget was first, its source is the one that is fed.
                self._source = feed().open(self._key, lambda: self._source, self.fed)

    def rest(self) -> None:
        """Is fed no more, until a front end looks again."""
        with self._guard:
            self._following = False
        feed().close(self._key, self.fed)

    def fed(self, document: Mapping[str, Any]) -> None:
        """The feed's document; called in its thread."""
        self.show_or_beat(document)

    def close(self) -> None:
        """Ends the widget and its layout: it is fed no more, and disappears from the page."""
        self.rest()
        super().close()
        self.layout.close()

    def whole_now(self) -> dict[str, Any]:
        """The document with its number, the texts, and this machine's time (seconds since 1970)."""
        with self._guard:
            return {"number": self._number, "now": time.time(), "texts": TEXTS, "document": {**self._document}}

    @property
    def document(self) -> Mapping[str, Any]:
        """What it shows now."""
        return self._document

    def show(self, document: Mapping[str, Any]) -> None:
        """Shows `document`; only what differs is sent, and nothing when nothing does."""
        with self._guard:
            if patch := difference(self._document, document):
                self._document = document
                self._number += 1
                self._send_patch(patch)

    def beat(self) -> None:
        """Tells the front end that this is live."""
        with self._guard:
            self._send_patch({}, beat=True)

    def show_or_beat(self, document: Mapping[str, Any]) -> None:
        """Shows `document`; where nothing has been sent for some seconds it is a beat."""
        self.show(document)
        if time.monotonic() - self._sent > _BEAT_SECONDS:
            self.beat()

    def _send_patch(self, change: Mapping[str, Any], *, beat: bool = False) -> None:
        self._sent = time.monotonic()
        marked = {"beat": True} if beat else {}
        self.patch = {"number": self._number, "now": time.time(), "change": change, **marked}

    def _received(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """What a front end sends: `{"do": "look" | "gone" | "whole" | ...}`. On any thread, also while a cell runs."""
        if not isinstance(content, Mapping):
            return
        if content.get("do") == "look":
            self.seen = True
            self.follow()
            feed().looked(self._key)
            self.beat()
        elif content.get("do") == "gone":
            self.rest()
        elif content.get("do") == "whole":
            self.send_state("whole")
        else:
            self.heard(content)

    def heard(self, message: Mapping[str, Any]) -> None:
        """A click on a button."""

    # How it looks where there is no widget.

    def static_html(self) -> str:
        """The document as HTML that works without JavaScript."""
        return ""

    def static_text(self) -> str:
        """The document as text."""
        return repr(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()}>"

    def _repr_mimebundle_(self, **_options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if (bundle := super()._repr_mimebundle_()) is None:
            return None
        cells.shows(self)
        data, metadata = bundle
        return {**data, "text/plain": self.static_text(), "text/html": self.static_html()}, metadata

    def size(self) -> int:
        """The bytes of the last patch as JSON, for tests and figures."""
        return len(json.dumps(self.patch))
