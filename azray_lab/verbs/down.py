"""The verb `down`: ends a cluster and proves that nothing is left."""

from __future__ import annotations

import click

from azray_lab import views
from azray_lab.errors import DeclinedError
from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb


@verb("down", example="azray down a\nazray down a --yes", events=True)
@cluster_argument()
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where nobody can be asked.")
@pass_face
def command(face: Face, name: str, *, yes: bool) -> views.View:
    """End a cluster and prove that nothing is left."""
    cluster = find(name)
    if not yes and not face.confirm(f"End the cluster {name!r} and everything that runs on it?"):
        raise DeclinedError(f"nothing was done; cluster {name} is as it was", cause="the answer was no")
    face.follow(cluster.down_operation())
    return views.View({"name": name, "state": "down"}, f"{name} is down; nothing of it is left")
