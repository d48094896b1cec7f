"""The form as text and as HTML, for where nothing can be clicked: papermill, nbconvert, a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from azray_lab import views
from azray_lab.spec.writing import flow
from azray_lab.widgets.form_texts import TEXTS, say


def as_text(data: Mapping[str, Any], yaml: str) -> str:
    """The YAML, and what can be done with it."""
    return f"{_title(data)}\n\n{yaml}\n{say('static.how')}"


def as_html(data: Mapping[str, Any], yaml: str) -> str:
    """A table of what differs from the defaults, the YAML, and what can be done with it."""
    table = views.table_html(_title(data), TEXTS["static.columns"].split(", "), [*_rows(data)])
    return views.frame(f"{table}<pre>{views.escape(yaml)}</pre><p>{views.escape(say('static.how'))}</p>")


def _title(data: Mapping[str, Any]) -> str:
    return say("static.title", name=data.get("name", "default"))


def _rows(data: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a spec's data, each with its dotted key."""
    if isinstance(data, Mapping) and data:
        for name, value in data.items():
            yield from _rows(value, f"{key}.{name}" if key else name)
    elif isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        for number, item in enumerate(data):
            yield from _rows(item, f"{key}.{number}")
    else:
        yield key, data if isinstance(data, str) else flow(data)
