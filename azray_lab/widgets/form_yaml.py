"""The YAML of a form beside a real copy button, and the line that says whether it is complete."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent


class YamlView(anywidget.AnyWidget):
    """`text` is shown and copied, `status` is read out when it changes, `words` are the texts of title and button.

    `heard` is the number of presses of Plan and Up that have arrived here; while one has not, the view says so.
    Brings the form's style sheet.
    """

    _esm = _HERE / "form_yaml.js"
    _css = _HERE / "form.css"

    text = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    wrong = traitlets.Bool(default_value=False).tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)
    words = traitlets.Dict(default_value={}).tag(sync=True)

    def __repr__(self) -> str:
        return self.text
