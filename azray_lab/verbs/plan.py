"""The verb `plan`: shows what `up` would make."""

from __future__ import annotations

from typing import Any

from azray_lab.verbs.face import Face, pass_face, verb
from azray_lab.verbs.specs import read, spec_options


@verb("plan", example="azray plan --workers 2\nazray plan -f azray.yaml --json")
@spec_options
@pass_face
def command(face: Face, /, **options: Any) -> Any:
    """Show what `up` would make; make nothing."""
    from azray_lab.planning import plan

    return plan(read(face, **options))
