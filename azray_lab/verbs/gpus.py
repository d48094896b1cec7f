"""The verb `gpus`: what this machine or a cluster has, how busy it is, and who holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb
from azray_lab.verbs.watch import check, watch_options

if TYPE_CHECKING:
    from azray_lab.hardware import GpuReport


@verb("gpus", example="azray gpus\nazray gpus a --watch\nazray gpus a --json")
@cluster_argument(required=False)
@watch_options
@pass_face
def command(face: Face, name: str | None, watch: bool, every: float, times: int | None) -> GpuReport | None:
    """Show the GPUs of this machine or of a cluster.

    Without NAME those of this machine, and where there is none, why. With NAME those of each node of that cluster, with
    the actors and tasks that hold them.
    """
    from azray_lab.hardware import gpus

    check(watch, times)
    if not watch:
        return gpus(name)
    face.watch(lambda: gpus(name), every=every, times=times)
    return None
