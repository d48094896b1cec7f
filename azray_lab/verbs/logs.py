"""The verb `logs`: what a job, or a node of a cluster, has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from azray_lab import views
from azray_lab.errors import UsageError
from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_option, pass_face, verb

if TYPE_CHECKING:
    from collections.abc import Iterator


@verb("logs", example="azray logs train-3f9a2c01 -f\nazray logs --node worker-1")
@click.argument("job", metavar="[JOB]", required=False)
@cluster_option()
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends; for a cluster until Ctrl-C.")
@click.option("--node", "-n", metavar="NODE", help="The log of a node of the cluster, such as head or worker-1.")
@pass_face
def command(face: Face, job: str | None, cluster: str | None, *, follow: bool, node: str | None) -> views.View | None:
    """Show the logs of a job or of a cluster.

    Ctrl-C ends the showing, never the job.
    """
    if job and node:
        raise UsageError("a job and a node at once", next_step=f"azray logs {job}, or azray logs --node {node}")
    texts = _texts(job, cluster, node, follow=follow)
    if face.json:
        text = "".join(texts)
        return views.View({"job": job, "node": node, "log": text}, text)
    for text in texts:
        face.write(text)
    return None


def _texts(job: str | None, cluster: str | None, node: str | None, *, follow: bool) -> Iterator[str]:
    found = find(cluster)
    if job is None:
        return (line if line.endswith("\n") else f"{line}\n" for line in found.logs(node, follow=follow))
    from azray_lab import jobs

    return jobs.logs(found.endpoint, job, follow=follow)
