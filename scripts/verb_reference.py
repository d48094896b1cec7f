"""Writes docs/reference/verbs.md from the verb tree; with --check fails when the committed page is out of date."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from reference_page import finish  # type: ignore[import-not-found] # beside this script

from azray_lab.verbs.tree import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "verbs.md"
HEAD = """# The verbs

<!-- Written by scripts/verb_reference.py from the verb tree; do not edit. -->

The same verbs serve the terminal (`azray up`), the notebook (`%azray up`, after `%load_ext azray_lab`) and the body of
a cell (`%%azray run`). With `--json` one JSON document stands on stdout and text for people goes to stderr. Exit codes:
0 done, 1 failed, 2 wrong usage, 130 interrupted; `run` returns the exit code of its job.

"""


def page() -> str:
    """The whole page: the list of verbs, then each one."""
    with tree.make_context("azray", [], resilient_parsing=True) as context:
        found = list(walk(tree, context))
        lines = ["| verb | what it does |", "|---|---|"]
        lines += [
            f"| [`{ctx.command_path}`](#{ctx.command_path.replace(' ', '-')}) | {first_line(ctx.command)} |"
            for ctx in found
        ]
        return HEAD + "\n".join(lines) + "\n" + "".join(f"\n{section(ctx)}" for ctx in found)


def walk(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """The context of each verb below `group`, in the order of the help."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, parent=context, info_name=name)
        yield below
        if isinstance(command, click.Group):
            yield from walk(command, below)


def first_line(command: click.Command) -> str:
    """The first sentence of a verb's help."""
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def section(context: click.Context) -> str:
    """The heading, usage, help, options and example of one verb."""
    command = context.command
    usage = f"{context.command_path} {pieces(command, context)}"
    lines = [
        f"## {context.command_path}",
        "",
        "```",
        usage,
        "```",
        "",
        inspect.cleandoc(command.help or "").replace("\b\n", ""),
        "",
    ]
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    lines += ["| option | meaning |", "|---|---|"]
    lines += ["| `{}` | {} |".format(*(" ".join(cell.split()).replace("|", "\\|") for cell in r)) for r in records]
    return "\n".join([*lines, "", *example(command)])


def pieces(command: click.Command, context: click.Context) -> str:
    """What follows a verb's name; the same with every click, of which newer ones bracket COMMAND."""
    text = " ".join(command.collect_usage_pieces(context)).replace("[COMMAND]", "COMMAND")
    alone = isinstance(command, click.Group) and command.invoke_without_command
    return text.replace("COMMAND [ARGS]", "[COMMAND] [ARGS]") if alone else text


def example(command: click.Command) -> list[str]:
    """The example of a verb's help as a block of code."""
    text = (command.epilog or "").replace("\b\n", "").removeprefix("Example:\n")
    return ["```bash", inspect.cleandoc(text).strip(), "```", ""] if text else []


if __name__ == "__main__":
    sys.exit(finish(PAGE, page()))
