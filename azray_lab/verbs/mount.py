"""The verb `mount`: a Blob container as a folder."""

from __future__ import annotations

from typing import Any

import click

from azray_lab.verbs.face import Face, pass_face, verb

_EXAMPLE = """
azray mount az://datasets/imagenet /mnt/imagenet --profile dataset
azray mount az://runs/llm /mnt/runs --profile checkpoints --explain
"""
_PROFILES = ("dataset", "checkpoints", "models", "shared")


@verb("mount", example=_EXAMPLE, events=True)
@click.argument("uri")
@click.argument("path")
@click.option("--profile", "-p", type=click.Choice(_PROFILES), default="shared", help="What the data is for.")
@click.option(
    "--engine", type=click.Choice(["auto", "blobfuse2", "hydrate"]), default="auto",
    help="hydrate: a read-only copy on the local disk, for many small files; auto looks at the data.",
)  # fmt: skip
@click.option(
    "--access", type=click.Choice(["auto", "sequential", "random"]), default="auto",
    help="How large files are read: as a whole, or in pieces, such as columns of Parquet.",
)  # fmt: skip
@click.option(
    "--fallback", type=click.Choice(["none", "copy"]), default="none", help="What to do where FUSE cannot work."
)
@click.option("--read-only/--writable", default=None, help="Default: dataset and models are read-only.")
@click.option("--allow-other", is_flag=True, help="Let other users of this machine in.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A setting of blobfuse2's own; repeatable.")
@click.option("--cache", metavar="FOLDER", default="", help="Where copies and caches lie; default: below AZRAY_HOME.")
@click.option("--timeout", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds.")
@click.option("--explain", "explained", is_flag=True, help="Say what would be done and why each value is what it is.")
@pass_face
def command(
    face: Face, /, uri: str, path: str, *, settings: tuple[str, ...], timeout: float, explained: bool, **how: Any
) -> Any:
    """Make a Blob container appear as a folder.

    URI is az://container/folder in the account of the environment, or an address of Blob's own. PATH is an empty folder
    or one that does not exist yet. Returns when the folder answers.
    """
    from azray_lab import mounting

    how["options"] = mounting.parse_options(settings)
    if explained:
        return mounting.explain(uri, path, **how)
    return face.follow(mounting.mount_operation(uri, path, timeout=timeout, **how))
