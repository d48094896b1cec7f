"""The verb `up`: makes a cluster, or brings it to what its spec says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from azray_lab.verbs.face import Face, log_to_driver_option, pass_face, verb
from azray_lab.verbs.specs import read, spec_options

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster

_EXAMPLE = """
azray up --name a --workers 2 --idle 30m
azray up -f azray.yaml --set head.cpus=4
"""


@verb("up", example=_EXAMPLE, events=True)
@spec_options
@click.option("--wait/--no-wait", default=True, help="With --no-wait it goes on by itself and a handle comes back.")
@log_to_driver_option()
@pass_face
def command(face: Face, /, *, wait: bool, connecting: dict[str, Any], **options: Any) -> Any:
    """Make a cluster, or bring it to what its spec says.

    With the same name and spec the running cluster comes back; with another number of workers it is scaled.
    """
    from azray_lab.cluster import up_operation

    spec = read(face, **options)
    task = up_operation(spec)

    def adopt(cluster: Cluster) -> Cluster:
        if face.connects:
            cluster.connect(**connecting)
        return cluster

    return adopt(face.follow(task)) if wait else face.detach(spec.name, task, adopt)
