"""The verb `ui`: the spec as a form in a notebook."""

from __future__ import annotations

from typing import Any

from azray_lab.errors import UnsupportedError
from azray_lab.verbs.face import Face, pass_face, verb
from azray_lab.verbs.specs import read, spec_options


@verb("ui", example="%azray ui                     (in a notebook)\n%azray ui -f azray.yaml --workers 2")
@spec_options
@pass_face
def command(face: Face, /, **options: Any) -> Any:
    """Show a form that plans and makes a cluster; for notebooks.

    It is filled from azray.yaml, from the YAML in the cell (`%%azray ui`) and from these options.
    """
    spec = read(face, **options)
    if not face.connects:
        raise UnsupportedError(
            "a form needs a notebook",
            cause="this is a terminal, where `azray plan` shows what a spec would make and `azray up` makes it",
            next_step=f"azray plan --name {spec.name}, or %azray ui in a notebook",
        )
    from azray_lab.widgets.form import ui

    return ui(spec)
