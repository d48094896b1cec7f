"""The verb `jobs`: lists the jobs of a cluster; `jobs stop` ends one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_option, pass_face, verb, verb_group
from azray_lab.views import View

if TYPE_CHECKING:
    from azray_lab.views import Table


@verb_group("jobs", example="azray jobs\nazray jobs stop train-3f9a2c01", invoke_without_command=True)
@cluster_option()
@click.pass_context
def command(context: click.Context, cluster: str | None) -> Table | None:
    """List the jobs of a cluster, or stop one."""
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


command.add_command(stop)
