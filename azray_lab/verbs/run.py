"""The verb `run`: a command, a script, a notebook or a cell as a job; its log as it comes, its exit code as ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from azray_lab.errors import SpecError, UsageError
from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_option, pass_face, verb
from azray_lab.verbs.follow import follow
from azray_lab.verbs.joblog import JobLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azray_lab.jobs import JobResult, Work

# How often the log is drawn, in seconds.
_EVERY = 0.1
_PLAIN = "azray_lab.run.plain"

_EXAMPLE = """
azray run train.py --lr 0.1
azray run --cluster a --detach train.py
azray run -- python -m my_module
azray run analysis.ipynb -p epochs 3
%%azray run -o result
"""


class RunCommand(click.Command):
    """Options stand before what is run, the rest belongs to it; after a notebook they are ours again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Decides where our options end, then parses as click does."""
        given = list(args)
        # Without the arguments, which would take all that is left for themselves.
        options = click.Command(self.name, params=[p for p in self.params if isinstance(p, click.Option)])
        _, rest, _ = options.make_parser(ctx).parse_args(list(args))
        before = given[len(given) - len(rest) - 1] if len(rest) < len(given) else ""
        ctx.meta[_PLAIN] = before == "--"
        if rest and rest[0].endswith(".ipynb") and before != "--":
            ctx.allow_interspersed_args = True
        elif ctx.obj is not None:
            # A face looks for --json before anything is parsed; behind the script it is the script's.
            ours = given[: len(given) - len(rest)]
            ctx.obj.json, ctx.obj.events = "--json" in ours, "--events" in ours
        return super().parse_args(ctx, args)


@verb(
    "run",
    example=_EXAMPLE,
    events=True,
    cls=RunCommand,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.argument("what", metavar="[--] COMMAND | SCRIPT.py | NOTEBOOK.ipynb", required=False, type=click.Path())
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@cluster_option()
@click.option("--detach", "-d", is_flag=True, help="Leave the job running and print its id.")
@click.option(
    "--working-dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory that travels with the job, less what .gitignore names. Default: the current one.",
)
@click.option("--env", "-e", metavar="K[=V]", multiple=True, help="A variable of the job; without =V its value here.")
@click.option("--timeout", metavar="TIME", help="Stop the job when it runs longer, for instance 30m.")
@click.option("parameters", "-p", metavar="NAME VALUE", nargs=2, multiple=True, help="A parameter of the notebook.")
@click.option(
    "--output",
    "-o",
    metavar="FILE | NAME",
    help="Where a notebook's executed copy goes; a cell's variable to bring back.",
)
@pass_face
def command(face: Face, /, **given: Any) -> JobResult:
    """Run a command, a script, a notebook or a cell as a job.

    Ctrl-C stops the job on the cluster. The exit code is the job's.
    """
    from azray_lab import jobs

    work = _work(face, plain=bool(click.get_current_context().meta.get(_PLAIN)), **given)
    env, timeout = _environment(given["env"]), _seconds(given["timeout"])
    endpoint = find(given["cluster"]).endpoint
    log = JobLog(face)
    task = jobs.run(endpoint, work, env=env, on_log=log.take, detach=given["detach"], timeout=timeout)
    log.watch(task.operation)
    try:
        result = follow(task, log.draw, every=_EVERY)
    finally:
        log.close()
    # A terminal has the exit code; a cell fails by an error.
    result = result.check() if face.connects else result
    if work.variable and not result.detached:
        face.assign(work.variable, result.value)
    return result


def _work(
    face: Face,
    *,
    plain: bool,
    what: str | None,
    arguments: Sequence[str],
    parameters: Sequence[tuple[str, str]],
    output: str | None,
    working_dir: Path | None,
    **_: Any,
) -> Work:
    from azray_lab import jobs

    kind = _kind(face, what, plain=plain)
    if parameters and kind != "notebook":
        raise UsageError("-p gives a parameter to a notebook", next_step="azray run analysis.ipynb -p epochs 3")
    if output and kind not in {"notebook", "cell"}:
        raise UsageError("-o is for notebooks and cells", next_step="leave -o out, or write it behind the script")
    if kind == "cell":
        return jobs.cell(face.cell or "", variable=output or "", directory=working_dir)
    if what is None:
        raise UsageError("say what to run", next_step="azray run train.py, or azray run -- python -m my_module")
    if kind == "notebook" and arguments:
        raise UsageError(f"a notebook takes no argument {arguments[0]!r}", next_step="-p NAME VALUE")
    if plain:
        return jobs.command([what, *arguments], directory=working_dir)
    values = {name: jobs.parameter(value) for name, value in parameters}
    return jobs.work_of([what, *arguments], parameters=values, output=output, directory=working_dir)


def _kind(face: Face, what: str | None, *, plain: bool) -> str:
    if face.cell is not None:
        if what is not None:
            raise UsageError(
                f"a cell is what runs, so {what!r} has no place here", next_step=f"%azray run {what}, or %%azray run"
            )
        return "cell"
    from azray_lab import jobs

    return "command" if plain or what is None else jobs.kind_of([what])


def _environment(given: Sequence[str]) -> dict[str, str]:
    from azray_lab.spec import settings

    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            here = settings.process_environment().get(name)
            if here is None:
                raise UsageError(f"there is no variable {name!r} here", next_step=f"--env {name}=VALUE")
            value = here
        if not name:
            raise UsageError(f"{each!r} names no variable", next_step="--env NAME=VALUE")
        found[name] = value
    return found


def _seconds(text: str | None) -> float | None:
    from azray_lab.spec.quantities import parse_duration

    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise SpecError(f"--timeout: {error}", next_step="--timeout 30m", key="timeout") from error
    if seconds <= 0:
        raise SpecError("--timeout is not above zero", next_step="--timeout 30m", key="timeout")
    return float(seconds)
