"""Which engine serves a mount: decided by a look at the data and at the machine, said, and overridable."""

from __future__ import annotations

import itertools

import pytest

from azray_lab.errors import UnsupportedError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse.blobs import Found
from azray_lab.storage.blobfuse.capacity import MIB
from azray_lab.storage.blobfuse.request import Look, Request, choose, look

SMALL = Look(blobs=5000, size=5000 * 100 * 1024)
LARGE = Look(blobs=12, size=12 * 512 * MIB)
NO_FUSE = UnsupportedError("FUSE cannot be used here", cause="/dev/fuse is not there")


def _request(**how) -> Request:
    return Request(BlobUri.parse("az://data/x"), "/mnt/x", **how)


@pytest.mark.parametrize(
    ("how", "seen", "engine", "words"),
    [
        ({"profile": "dataset"}, SMALL, "hydrate", "5,000 blobs of 100 KiB on average"),
        ({"profile": "dataset"}, LARGE, "blobfuse2", "12 blobs of 512.0 MiB"),
        ({"profile": "dataset", "engine": "blobfuse2"}, SMALL, "blobfuse2", "100 KiB"),
        ({"profile": "models", "engine": "hydrate"}, LARGE, "hydrate", "asked for"),
        ({"profile": "models"}, SMALL, "blobfuse2", "100 KiB"),
        ({"profile": "checkpoints"}, None, "blobfuse2", "profile checkpoints"),
        ({"profile": "dataset"}, Look(9000, 900 * MIB, complete=False), "blobfuse2", "more than 9,000 blobs"),
        ({"profile": "dataset"}, Look(20, 20 * 1024), "blobfuse2", "20 blobs of 1 KiB"),
    ],
)
def test_the_data_decides_and_the_user_may_say_otherwise(how, seen, engine, words):
    """Many small files are copied, all else goes through blobfuse2; the reason names what was seen."""
    chosen = choose(_request(**how), seen, 2048 * MIB, None)
    assert (chosen.engine, words in chosen.why) == (engine, True), chosen


def test_a_copy_that_has_no_room_is_not_begun():
    """A data set of small files that is larger than the room goes through blobfuse2's file cache."""
    chosen = choose(_request(profile="dataset"), SMALL, 100 * MIB, None)
    assert (chosen.engine, chosen.small) == ("blobfuse2", True)
    assert "more than the 100 MiB of a copy" in chosen.why


def test_without_fuse_there_is_a_copy_where_that_is_allowed():
    """The reason is the machine's; without leave the error is raised, and what needs no FUSE needs no leave."""
    chosen = choose(_request(profile="models", fallback="copy"), LARGE, 2**40, NO_FUSE)
    assert chosen.engine == "hydrate"
    assert "a read-only copy, because FUSE cannot be used here (/dev/fuse is not there)" in chosen.why
    with pytest.raises(UnsupportedError, match="/dev/fuse is not there"):
        choose(_request(profile="models"), LARGE, 2**40, NO_FUSE)
    assert choose(_request(profile="dataset"), SMALL, 2**40, NO_FUSE).engine == "hydrate"


@pytest.mark.parametrize(("name", "access"), [("a.parquet", "random"), ("a.H5", "random"), ("a.tar", "sequential")])
def test_formats_read_in_pieces_get_small_blocks(name, access):
    """Most of the bytes decide; what the user says counts more."""
    seen = look([Found(name, 10 * MIB, ""), Found("readme.md", 100, "")])
    assert seen.access == access
    assert choose(_request(profile="dataset"), seen, 0, None).access == access
    assert choose(_request(profile="dataset", access="random"), seen, 0, None).access == "random"


def test_a_look_ends_after_its_time():
    """A listing without end is looked at for the seconds given, and said to be only a part."""
    endless = (Found(f"{number}", 1, "") for number in itertools.count())
    seen = look(endless, seconds=0.02)
    assert not seen.complete
    assert str(seen).startswith("more than ")
    assert look([]) == Look()
