"""The verb `scale`: changes the number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster


@verb("scale", example="azray scale a 4", events=True)
@cluster_argument()
@click.argument("workers", metavar="WORKERS", type=click.IntRange(min=0))
@pass_face
def command(face: Face, name: str, workers: int) -> Cluster:
    """Change the number of workers.

    WORKERS is how many there shall be beside the head.
    """
    cluster = find(name)
    face.follow(cluster.scale_operation(workers))
    return cluster
