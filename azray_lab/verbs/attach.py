"""The verb `attach`: a shell, or one command, in a cluster's environment."""

from __future__ import annotations

import click

from azray_lab.spec import settings
from azray_lab.verbs.clusters import environment, find
from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb


@verb(
    "attach",
    example="azray attach a\nazray attach a -- ray status",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@cluster_argument(required=False)
@click.argument("words", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@pass_face
def command(face: Face, name: str | None, words: tuple[str, ...]) -> None:
    """Open a shell in a cluster's environment.

    Ray's own tools and `ray.init()` find the cluster in it. With a COMMAND that is run instead of a shell, and its exit
    code is the verb's.
    """
    exported = environment(find(name))
    face.replace(words or (settings.variable("SHELL") or "/bin/sh",), exported)
