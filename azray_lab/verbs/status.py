"""The verb `status`: one cluster as it really is."""

from __future__ import annotations

from azray_lab import views
from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb


@verb("status", example="azray status a\nazray status a --json")
@cluster_argument(required=False)
@pass_face
def command(face: Face, name: str | None) -> views.View:
    """Show one cluster as it really is.

    NAME may be left out when there is only one.
    """
    del face
    return views.status(find(name).status())
