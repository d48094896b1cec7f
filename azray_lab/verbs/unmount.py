"""The verb `unmount`: takes a mounted folder away, when all that was written is in Blob."""

from __future__ import annotations

import time

import click

from azray_lab.verbs.face import Face, pass_face, verb
from azray_lab.views import View


@verb("unmount", example="azray unmount /mnt/imagenet\nazray unmount /mnt/runs --wait 600", events=True)
@click.argument("path")
@click.option(
    "--wait", type=click.FloatRange(0, 86400), default=30.0, show_default=True, help="Seconds for open files."
)
@click.option("--lazy", is_flag=True, help="Take the folder away at once; what is open is written when it is closed.")
@pass_face
def command(face: Face, path: str, *, wait: float, lazy: bool) -> View:
    """Unmount a folder.

    Waits for files that are open, and says which and by whom. Ends when everything is written; what a blobfuse2 that
    has died had not written, or could not upload, is kept, said, and makes the exit code 1.
    """
    from azray_lab import mounting

    began = time.time()
    gone = face.follow(mounting.unmount_operation(path, wait=wait, lazy=lazy))
    left = mounting.unwritten(path, since=began)
    text = f"{path} is unmounted" if gone else f"{path} stays mounted: a cluster uses it"
    lines = [text, *map(str, left)]
    data = {"path": path, "mounted": not gone, "unwritten": [one.to_dict() for one in left]}
    return View(data, "\n".join(lines), exit_code=1 if left else 0)
