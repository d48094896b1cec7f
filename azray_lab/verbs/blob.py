"""The verb `blob`: lists, copies, synchronises, reads and removes blobs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from azray_lab.errors import BlobNotFoundError, DeclinedError, UsageError
from azray_lab.spec.uri import BlobUri, is_uri
from azray_lab.verbs.face import Face, pass_face, verb, verb_group
from azray_lab.views import View

if TYPE_CHECKING:
    from azray_lab.blob import CopyResult, SyncResult
    from azray_lab.operation import Task
    from azray_lab.views import Table

T = TypeVar("T")
Kind = Literal["crc64", "md5"]

_check = click.option("--check", type=click.Choice(["crc64", "md5"]), help="Compare checksums of this kind end to end.")
_create = click.option("--create", is_flag=True, help="Make the container of DESTINATION when it is not there.")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
_recursive = click.option("--recursive", "-r", is_flag=True, help="All that is inside the folder.")


@verb_group(
    "blob",
    example="azray blob ls az://data\nazray blob cp -r results az://data/results\nazray blob rm 'az://data/tmp-*'",
)
def command() -> None:
    """List, copy, synchronise, read and remove blobs.

    URI is az://container/path, in the account of AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_URL, or any
    other spelling, such as a blob's own address, https://account.blob.core.windows.net/container/path. In all but sync
    and cat a path may be a pattern of blobs and folders: * and ? are any characters but a slash, ** any at all, [ab]
    one of a set.
    """


@verb("ls", example="azray blob ls az://data/2024/ -r\nazray blob ls 'az://data/**.csv'")
@click.argument("uri", default="az://")
@click.option("--recursive", "-r", is_flag=True, help="Go into folders; list blobs only.")
@pass_face
def ls(_face: Face, uri: str, *, recursive: bool) -> Table:
    """List containers, or the blobs and folders of one.

    Without URI, the containers of the account.
    """
    from azray_lab.blob import list_blobs

    return list_blobs(uri, recursive=recursive)


@verb("tree", example="azray blob tree az://data --depth 2")
@click.argument("uri")
@click.option("--depth", "-d", default=0, metavar="N", type=click.IntRange(0), help="Folders below this are totals.")
@pass_face
def tree(_face: Face, uri: str, *, depth: int) -> View:
    """Draw the folders and blobs below URI as a tree, with sizes."""
    from azray_lab import blob

    return blob.tree(uri, depth=depth)


@verb("du", example="azray blob du az://data")
@click.argument("uri", default="az://")
@pass_face
def du(_face: Face, uri: str) -> Table:
    """Count blobs and bytes in each folder directly below URI, and in all."""
    from azray_lab import blob

    return blob.usage(uri)


@verb(
    "cp",
    example="azray blob cp model.bin az://models/\nazray blob cp -r az://data/2024 ./2024\n"
    "azray blob cp 'az://data/2024/*.csv' ./csv/",
    events=True,
)
@click.argument("source")
@click.argument("destination")
@click.option("--recursive", "-r", is_flag=True, help="Copy all that is inside the folder SOURCE into DESTINATION.")
@click.option("--exact", is_flag=True, help="DESTINATION is the new name, also where a folder is called so.")
@_check
@_create
@_dry_run
@pass_face
def cp(
    face: Face, source: str, destination: str, *, recursive: bool, exact: bool, check: Kind | None, create: bool,
    dry_run: bool,
) -> CopyResult | Table:  # fmt: skip
    """Copy blobs from or to this machine, or to another place.

    One of SOURCE and DESTINATION is a URI, the other a URI or a local path. A DESTINATION that ends with / or is a
    folder takes the file under its own name. What matches a pattern keeps its name below the pattern's fixed part;
    what is in folders that match is taken with -r. What exists is overwritten. Within an account the service copies.
    """
    from azray_lab import blob

    _refuse_pipes(source, destination)
    if dry_run:
        return blob.planned_copy(source, destination, recursive=recursive, exact=exact)

    def make(new: bool) -> Task[CopyResult]:
        return blob.copy(source, destination, recursive=recursive, exact=exact, check=check or False, create=new)

    return _with_container(face, make, destination, create=create)


@verb(
    "sync",
    example="azray blob sync results az://data/results\nazray blob sync az://data/2024 2024 --delete",
    events=True,
)
@click.argument("source")
@click.argument("destination")
@click.option("--delete", is_flag=True, help="Remove from DESTINATION what SOURCE has not.")
@_check
@_create
@_dry_run
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --delete removes something.")
@pass_face
def sync(
    face: Face, source: str, destination: str, *, delete: bool, check: Kind | None, create: bool, dry_run: bool,
    yes: bool,
) -> SyncResult | Table:  # fmt: skip
    """Make the folder DESTINATION like the folder SOURCE, copying only what differs.

    A file is copied when it is missing, of another size, or newer than the other one.
    """
    from azray_lab import blob

    if dry_run:
        return blob.planned_sync(source, destination, delete=delete)
    if delete and not yes:
        actions = blob.planned_sync(source, destination, delete=True).to_dict()
        doomed = sum(one["action"] == "remove" for one in actions)
        if doomed and not face.confirm(f"Remove {doomed} files from {_shown(destination)}?"):
            raise DeclinedError("nothing was done", cause="the answer was no")

    def make(new: bool) -> Task[SyncResult]:
        return blob.sync(source, destination, delete=delete, check=check or False, create=new)

    return _with_container(face, make, destination, create=create)


def _refuse_pipes(source: str, destination: str) -> None:
    """UsageError for `-`, by which other tools mean their input and output; a file of that name is `./-`."""
    if source == "-":
        raise UsageError(
            "cp does not read its input", next_step=f"write it to a file, and copy that to {_shown(destination)}"
        )
    if destination == "-":
        raise UsageError("cp does not write to its output", next_step=f"azray blob cat {_shown(source)}")


def _with_container(face: Face, make: Callable[[bool], Task[T]], destination: str, *, create: bool) -> T:
    """Follows the task; when the destination's container is missing and a person can be asked, offers to make it."""
    from azray_lab import blob

    try:
        return face.follow(make(create))
    except BlobNotFoundError as error:
        container = blob.missing_container(error, destination)
        if create or not container or not face.interactive:
            raise
        if not face.confirm(f"There is no container {container}. Make it?"):
            raise
    return face.follow(make(True))  # noqa: FBT003 - whether to make the container


@verb("rm", example="azray blob rm az://data/old.csv\nazray blob rm -r az://data/2023 --yes", events=True)
@click.argument("uri")
@_recursive
@_dry_run
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed for more than one blob where nobody can be asked.")
@pass_face
def rm(face: Face, uri: str, *, recursive: bool, dry_run: bool, yes: bool) -> View | Table:
    """Remove a blob, all that match a pattern, or all inside a folder.

    More than one is asked about.
    """
    from azray_lab import blob

    if dry_run:
        return blob.to_remove(uri, recursive=recursive)
    if not yes:
        count, size = blob.count_to_remove(uri, recursive=recursive)
        if count > 1 and not face.confirm(f"Remove {count} blobs ({size}) at {_shown(uri)}?"):
            raise DeclinedError("nothing was removed", cause="the answer was no")
    done = face.follow(blob.remove(uri, recursive=recursive))
    data = {"uri": done.source, "files": done.files, "bytes": done.bytes, "seconds": done.seconds}
    return View(data, f"removed {done.files} {'blob' if done.files == 1 else 'blobs'} at {done.source}")


@verb("cat", example="azray blob cat az://data/2024/a.csv | head")
@click.argument("uri")
@pass_face
def cat(face: Face, uri: str) -> View | None:
    """Write a blob's bytes to stdout; in a notebook, its text."""
    from azray_lab import blob

    if face.json or face.connects:
        data = blob.read(uri)
        text = data.decode(errors="replace")
        return View({"uri": _shown(uri), "size": len(data), "text": text}, text)
    for part in blob.parts(uri):
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    return None


@verb("url", example="azray blob url az://data/2024/a.csv")
@click.argument("uri")
@pass_face
def url(_face: Face, uri: str) -> View:
    """Print the address of a blob, folder or container, without a signature."""
    from azray_lab import blob

    address = blob.url(uri)
    return View({"uri": _shown(uri), "url": address}, address)


@verb("mb", example="azray blob mb az://data")
@click.argument("uri")
@pass_face
def mb(_face: Face, uri: str) -> View:
    """Make a container."""
    from azray_lab import blob

    made = blob.make_container(uri)
    return View({"uri": _shown(uri), "made": made}, f"{_shown(uri)} {'is made' if made else 'was there'}")


def _shown(place: str) -> str:
    """A URI without its signature, or a local path as it is."""
    return str(BlobUri.parse(place)) if is_uri(place) else place


def _add(*verbs: Any) -> None:
    for one in verbs:
        command.add_command(one)


_add(ls, tree, du, cp, sync, rm, cat, url, mb)
