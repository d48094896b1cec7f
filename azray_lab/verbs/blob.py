"""The verb `blob`: lists and copies blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from azray_lab.verbs.face import Face, pass_face, verb, verb_group

if TYPE_CHECKING:
    from azray_lab.blob import CopyResult
    from azray_lab.views import Table


@verb_group("blob", example="azray blob ls az://data\nazray blob cp -r results az://data/results")
def command() -> None:
    """List and copy blobs.

    URI is az://container/path, in the account of AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_URL, or a
    blob's own address, https://account.blob.core.windows.net/container/path.
    """


@verb("ls", example="azray blob ls az://data/2024/ -r")
@click.argument("uri", default="az://")
@click.option("--recursive", "-r", is_flag=True, help="Go into folders; list blobs only.")
@pass_face
def ls(_face: Face, uri: str, recursive: bool) -> Table:
    """List containers, or the blobs and folders of one.

    Without URI, the containers of the account.
    """
    from azray_lab.blob import list_blobs

    return list_blobs(uri, recursive=recursive)


@verb("cp", example="azray blob cp model.bin az://models/\nazray blob cp -r az://data/2024 ./2024", events=True)
@click.argument("source")
@click.argument("destination")
@click.option("--recursive", "-r", is_flag=True, help="Copy all that is inside the folder SOURCE into DESTINATION.")
@pass_face
def cp(face: Face, source: str, destination: str, recursive: bool) -> CopyResult:
    """Copy blobs from or to this machine, or to another place.

    One of SOURCE and DESTINATION is a URI, the other a URI or a local path. A DESTINATION that ends with / or is a
    folder takes the file under its own name. What exists is overwritten.
    """
    from azray_lab.blob import copy

    return face.follow(copy(source, destination, recursive=recursive))


command.add_command(ls)
command.add_command(cp)
