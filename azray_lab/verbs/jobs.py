"""The verb `jobs`: lists the jobs of a cluster; `jobs stop` ends one, `jobs fetch` brings what one left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_option, pass_face, verb, verb_group
from azray_lab.views import View

if TYPE_CHECKING:
    from azray_lab.jobs import JobResult
    from azray_lab.views import Table


@verb_group(
    "jobs",
    example="azray jobs\nazray jobs stop train-3f9a2c01\nazray jobs fetch analysis-3f9a2c01",
    invoke_without_command=True,
)
@cluster_option()
@click.pass_context
def command(context: click.Context, cluster: str | None) -> Table | None:
    """List the jobs of a cluster, stop one, or fetch what one left."""
    if context.invoked_subcommand is not None:
        return None
    from azray_lab import jobs

    return jobs.table(jobs.list_jobs(find(cluster).endpoint))


@verb("stop", example="azray jobs stop train-3f9a2c01")
@click.argument("job", metavar="JOB")
@cluster_option()
@click.pass_context
@pass_face
def stop(face: Face, context: click.Context, job: str, cluster: str | None) -> View:
    """Stop a job and wait until it has ended."""
    from azray_lab import jobs

    outer = context.parent.params if context.parent else {}
    endpoint = find(cluster or outer.get("cluster")).endpoint
    if jobs.get(endpoint, job).done:
        face.say(f"job {job} had already ended")
    ended = jobs.stop(endpoint, job)
    # A view, because a job's own exit code is not that of stopping it.
    return View(ended.to_dict(), str(ended))


@verb("fetch", example="azray jobs fetch analysis-3f9a2c01\n%azray jobs fetch cell-0b5d77e1 -o result")
@click.argument("job", metavar="JOB")
@cluster_option()
@click.option("--output", "-o", metavar="FILE | NAME", help="Where the executed notebook goes; a cell's variable here.")
@click.pass_context
@pass_face
def fetch(face: Face, context: click.Context, job: str, cluster: str | None, output: str | None) -> JobResult | View:
    """Bring what a notebook or a cell has left, also after --detach.

    A notebook's executed copy is written to FILE (default: JOB.ipynb); while it runs, it is the copy so far.
    """
    from azray_lab import jobs

    outer = context.parent.params if context.parent else {}
    endpoint = find(cluster or outer.get("cluster")).endpoint
    notebook = jobs.get(endpoint, job).result.endswith(".ipynb")
    target, variable = (Path(output), "") if output and notebook else (None, output or "")
    result = jobs.fetch(endpoint, job, output=target, variable=variable)
    if variable:
        face.assign(variable, result.value)
    # In a terminal a view, because a job's own exit code is not that of fetching.
    return result if face.connects else View(result.to_dict(), str(result))


command.add_command(stop)
command.add_command(fetch)
