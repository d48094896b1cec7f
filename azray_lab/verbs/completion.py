"""The verb `completion`: the script that makes a shell complete azray."""

from __future__ import annotations

import click

from azray_lab import views
from azray_lab.verbs.face import Face, pass_face, verb

_EXAMPLE = """
eval "$(azray completion bash)"
azray completion fish > ~/.config/fish/completions/azray.fish
"""
SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    example=_EXAMPLE,
)
@click.argument("shell", type=click.Choice(SHELLS))
@pass_face
def command(face: Face, shell: str) -> views.View:
    """Print the script that makes a shell complete azray."""
    del face
    return views.View({"shell": shell, "script": script(shell)}, script(shell))


def script(shell: str) -> str:
    """Click's completion script for `shell`; it asks `azray` itself at each TAB."""
    from click.shell_completion import get_completion_class

    from azray_lab.verbs.tree import COMPLETE_VARIABLE, tree

    if (kind := get_completion_class(shell)) is None:
        raise LookupError(shell)
    return kind(tree, {}, "azray", COMPLETE_VARIABLE).source().rstrip()
