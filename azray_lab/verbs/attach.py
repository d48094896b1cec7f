"""The verb `attach`: a shell, or one command, in a cluster's environment."""

from __future__ import annotations

import click

from azray_lab.spec import settings
from azray_lab.verbs.clusters import environment, find
from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb

_COMMAND = "azray_lab.attach.command"


class AttachCommand(click.Command):
    """A command that keeps what stands after `--`, whatever it looks like: without it NAME and COMMAND are alike."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses what stands before `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line, with what may follow."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@verb("attach", example="azray attach a\nazray attach a -- ray status", cls=AttachCommand)
@cluster_argument(required=False)
@click.pass_context
@pass_face
def command(face: Face, context: click.Context, name: str | None) -> None:
    """Open a shell in a cluster's environment.

    Ray's own tools and `ray.init()` find the cluster in it. With a COMMAND that is run instead of a shell, and its exit
    code is the verb's.
    """
    exported = environment(find(name))
    words = context.meta[_COMMAND] or [settings.variable("SHELL") or "/bin/sh"]
    face.replace(words, exported)
