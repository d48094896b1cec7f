"""The verb `connect`: connects a kernel; in a terminal it prints how to connect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azray_lab import views
from azray_lab.verbs.clusters import environment, find
from azray_lab.verbs.face import Face, cluster_argument, log_to_driver_option, pass_face, verb

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster


@verb("connect", example="azray connect a")
@cluster_argument(required=False)
@log_to_driver_option()
@pass_face
def command(face: Face, name: str | None, connecting: dict[str, Any]) -> Any:
    """Connect to a cluster (in a terminal: print how).

    NAME may be left out when there is only one.
    """
    cluster = find(name)
    if not face.connects:
        return instructions(cluster)
    cluster.connect(**connecting)
    return cluster


def instructions(cluster: Cluster) -> views.View:
    """How to connect to `cluster` from Python, from a notebook, from a shell and with Ray's own tools."""
    ways = {
        "in a notebook": f"%load_ext azray_lab, then %azray connect {cluster.name}",
        "in Python": f'import azray_lab; azray_lab.attach("{cluster.name}").connect()',
        "in a shell": f"azray attach {cluster.name}",
    }
    exported = environment(cluster)
    lines = views.aligned([*((f"{way}:", how) for way, how in ways.items()), ("Ray's own tools:", "export these")])
    lines += [f"  export {key}={value}" for key, value in exported.items()]
    return views.View({"name": cluster.name, "ways": ways, "environment": exported}, "\n".join(lines))
