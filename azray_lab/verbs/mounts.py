"""The verb `mounts`: what is mounted and how it is; mends what is stale, and measures which profile serves best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from azray_lab.verbs.face import Face, pass_face, verb

if TYPE_CHECKING:
    from azray_lab.views import Table

_EXAMPLE = """
azray mounts
azray mounts --mend
azray mounts --tune /mnt/imagenet
"""


@verb("mounts", example=_EXAMPLE, events=True)
@click.option("--mend", is_flag=True, help="Bring back mounts whose process has died.")
@click.option("--tune", metavar="PATH", help="Measure the profiles on this mount's own data (or a URI's) for a minute.")
@click.option("--seconds", type=click.FloatRange(4, 3600), default=60.0, show_default=True, help="How long to measure.")
@pass_face
def command(face: Face, *, mend: bool, tune: str | None, seconds: float) -> Table:
    """List mounted containers and how they are.

    Whether each answers, since when, what it uses of disk and memory, how many requests wait and how many errors its
    log has.
    """
    from azray_lab import mounting

    if tune:
        advice = face.follow(mounting.tune_operation(tune, seconds=seconds))
        face.say(advice.title)
        return advice
    return face.follow(mounting.mend_operation()) if mend else mounting.mounts()
