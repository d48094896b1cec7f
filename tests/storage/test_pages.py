"""The reader of listings: whatever names there are come back; what is no listing is an error, never something else."""

from __future__ import annotations

from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.errors import StorageError
from azray_lab.storage.engine import Entry, pages

_DATE = "Sat, 21 Nov 2026 03:01:00 GMT"
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
_sizes = st.integers(0, 2**42)
_orders = st.permutations(["Last-Modified", "Etag", "Content-Length", "Content-Type"])


def _plain(name: str) -> bool:
    return all(c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" for c in name)


def _xml(name: str, size: int, order: list[str]) -> str:
    """A blob as services write it: in any order, with the name encoded where XML cannot hold it."""
    values = {"Last-Modified": _DATE, "Etag": "0x8D", "Content-Length": str(size), "Content-Type": "a/b"}
    properties = "".join(f"<{key}>{values[key]}</{key}>" for key in order)
    shown = f"<Name>{escape(name)}</Name>" if _plain(name) else f'<Name Encoded="true">{quote(name, safe="")}</Name>'
    return f"<Blob>{shown}<Properties>{properties}<Content-MD5 /></Properties><Metadata><a>1</a></Metadata></Blob>"


def _page(items: str, marker: str = "") -> bytes:
    after = f"<NextMarker>{escape(marker)}</NextMarker>" if marker else "<NextMarker />"
    return f"\ufeff<?xml version='1.0'?><EnumerationResults><Blobs>{items}</Blobs>{after}</EnumerationResults>".encode()


@given(st.lists(st.tuples(_names, _sizes, _orders), max_size=8), _names)
def test_every_name_comes_back(blobs: list[tuple[str, int, list[str]]], marker: str):
    """Markup, controls and any script in names, properties in any order; the marker too."""
    found, following = pages.blobs(_page("".join(_xml(*one) for one in blobs), marker), "az://data")
    assert found == [Entry("blob", name, size, '"0x8D"', _DATE) for name, size, _ in blobs]
    assert following == marker
    for one in found:
        assert one.modified is not None
        assert one.modified.isoformat() == "2026-11-21T03:01:00+00:00"


def test_folders_of_all_kinds():
    """What a delimiter makes, a directory of a hierarchical namespace, and the empty blob that some tools leave."""
    stub = "<Blob><Name>{}</Name><Properties><Content-Length>0</Content-Length>{}</Properties>"
    stub += "<Metadata>{}</Metadata></Blob>"
    items = "<BlobPrefix><Name>a/</Name></BlobPrefix>"
    items += stub.format("b", "<ResourceType>directory</ResourceType>", "")
    items += stub.format("c", "", "<hdi_isfolder>true</hdi_isfolder>")
    items += stub.format("directory", "", "")
    found, _ = pages.blobs(_page(items), "az://data")
    assert [one.stored for one in found] == ["a/", "b", "c", "directory"]
    kinds = [(one.kind, one.name) for one in found]
    assert kinds == [("folder", "a/"), ("folder", "b/"), ("folder", "c/"), ("blob", "directory")]


def test_metadata_that_is_called_like_elements():
    """Users may call metadata `Blob` or `Name`: a page of such blobs is read like any other, and so is a plain one."""
    entry = "<Blob><Name>{0}</Name><Properties><Last-Modified>{1}</Last-Modified><Etag>{2}</Etag><Content-Length>7"
    entry += "</Content-Length></Properties>{3}</Blob>"
    date, odd = "Sat, 21 Nov 2026 03:01:00 GMT", "<Metadata><Blob>x</Blob><Name>y</Name></Metadata>"
    for etag in ("0x1", '"0x1"', "&quot;0x1&quot;"):
        for metadata in ("<Metadata />", odd):
            items = "".join(entry.format(name, date, etag, metadata) for name in ("a", "b"))
            found, _ = pages.blobs(_page(items), "az://data")
            assert found == [Entry("blob", name, 7, '"0x1"', date) for name in ("a", "b")]


_pieces = st.sampled_from(
    ["<Blob>", "</Blob>", "<Name>", "</Name>", "<BlobPrefix>", "x", "&lt;", "&", "<Content-Length>", "9", "\x00", "]]>",
     "<EnumerationResults>", "</EnumerationResults>", "<NextMarker>", "</NextMarker>", "<Container>"]
)  # fmt: skip


@given(st.lists(_pieces, max_size=20).map("".join), st.binary(max_size=40))
def test_fuzz(text: str, noise: bytes):
    """Anything is entries or a StorageError; half a page is never taken for a whole one."""
    whole = _page(_xml("name", 1, ["Etag"]))
    for page in (text.encode(), noise, _page(text), whole[: len(text) * 10], whole[:-1]):
        for parse in (pages.blobs, pages.containers):
            try:
                found, _ = parse(page, "az://data")
            except StorageError as error:
                assert "az://data" in str(error)  # noqa: PT017 - an error is one of two right answers
            else:
                assert all(isinstance(one, Entry) for one in found)
    with pytest.raises(StorageError):
        pages.blobs(whole[:-1], "az://data")
