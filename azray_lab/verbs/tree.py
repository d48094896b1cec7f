"""The root of the verb tree: a plain table of verbs, each imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import click

from azray_lab.errors import CancelledError, UsageError
from azray_lab.verbs.face import VerbGroup, hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

    from azray_lab.verbs.face import Face

# Verb -> the module that holds its `command`. The order is that of the help.
VERBS = {
    "ui": "azray_lab.verbs.ui",
    "up": "azray_lab.verbs.up",
    "plan": "azray_lab.verbs.plan",
    "status": "azray_lab.verbs.status",
    "list": "azray_lab.verbs.list",
    "connect": "azray_lab.verbs.connect",
    "scale": "azray_lab.verbs.scale",
    "run": "azray_lab.verbs.run",
    "jobs": "azray_lab.verbs.jobs",
    "logs": "azray_lab.verbs.logs",
    "gpus": "azray_lab.verbs.gpus",
    "attach": "azray_lab.verbs.attach",
    "extend": "azray_lab.verbs.extend",
    "down": "azray_lab.verbs.down",
    "blob": "azray_lab.verbs.blob",
    "mount": "azray_lab.verbs.mount",
    "unmount": "azray_lab.verbs.unmount",
    "mounts": "azray_lab.verbs.mounts",
    "spec": "azray_lab.verbs.spec",
    "completion": "azray_lab.verbs.completion",
}

# The variable through which a shell's completion script asks `azray` (click's protocol).
COMPLETE_VARIABLE = "_AZRAY_COMPLETE"

# One line each, so that the list of verbs imports none of them; a test holds them equal to the verbs' own help.
SHORT_HELP = {
    "ui": "Show a form that plans and makes a cluster; for notebooks.",
    "up": "Make a cluster, or bring it to what its spec says.",
    "plan": "Show what `up` would make; make nothing.",
    "status": "Show one cluster as it really is.",
    "list": "List the clusters that are registered here.",
    "connect": "Connect to a cluster (in a terminal: print how).",
    "scale": "Change the number of workers.",
    "run": "Run a command, a script, a notebook or a cell as a job.",
    "jobs": "List the jobs of a cluster, stop one, or fetch what one left.",
    "logs": "Show the logs of a job or of a cluster.",
    "gpus": "Show the GPUs of this machine or of a cluster.",
    "attach": "Open a shell in a cluster's environment.",
    "extend": "Let a cluster live longer than its lease says.",
    "down": "End a cluster and prove that nothing is left.",
    "blob": "List, copy, synchronise, read and remove blobs.",
    "mount": "Make a Blob container appear as a folder.",
    "unmount": "Unmount a folder.",
    "mounts": "List mounted containers and how they are.",
    "spec": "Show the spec filled in, or its JSON Schema.",
    "completion": "Print the script that makes a shell complete azray.",
}


class Tree(VerbGroup):
    """A click group that knows its verbs by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, imported now; None for an unknown verb."""
        del ctx
        if (module := VERBS.get(cmd_name)) is None:
            return None
        return cast("click.Command", importlib.import_module(module).command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of verbs from the table, without importing any."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl(list(SHORT_HELP.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin with `incomplete`, without importing any; click's own for an option."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=SHORT_HELP[name]) for name in VERBS if name.startswith(incomplete)]


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from azray_lab import __version__

        click.echo(f"azray {__version__}")
        context.exit()


@click.group(
    cls=Tree,
    invoke_without_command=True,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  azray up --name a --workers 2\n  azray run --cluster a -- python train.py\n  azray down a",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def tree(context: click.Context) -> None:
    """Ray clusters out of one notebook: on this machine, on Azure VMs, on AKS."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def invoke(args: Sequence[str], face: Face, *, program: str) -> Any:
    """Parses `args`, calls the verb with `face` and returns its value.

    Help was printed and None is returned for `-h`. Raises our errors only: click's are turned into them here.
    """
    try:
        with tree.make_context(program, list(args), obj=face) as context:
            return tree.invoke(context)
    except click.exceptions.Exit:
        return None
    except click.exceptions.Abort as error:
        raise CancelledError("nothing was done", cause="interrupted") from error
    except click.ClickException as error:
        raise _ours(error, program) from error


def _ours(error: click.ClickException, program: str) -> UsageError:
    """Click's complaint as our UsageError, with the nearest option and the help to read."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else program
    if type(error).__name__ == "NoArgsIsHelpError":  # click >= 8.2; its message is the whole help
        known = context.command.list_commands(context) if context else []
        return UsageError(f"{path} needs a verb", cause=f"it has {', '.join(known)}", next_step=f"{path} -h")
    if isinstance(error, click.NoSuchOption):
        known = [name for p in context.command.get_params(context) for name in p.opts] if context else []
        message = f"{path} has no option {error.option_name!r}"
        return UsageError(message, cause=hint(error.option_name, known), next_step=f"{path} -h")
    return UsageError(f"{path}: {error.format_message()}", next_step=f"{path} -h")
