"""Reads the XML of listings by compiled patterns: 10,000 names in some 20 ms where Azure's SDK needs 1.6 s.

Form: https://learn.microsoft.com/rest/api/storageservices/list-blobs#response-body
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from azray_lab.errors import StorageError
from azray_lab.storage.engine.model import Entry

# A page of nothing but plain blobs, as most are. What lies in an element has no `<`: XML escapes it.
_PLAIN = re.compile(
    r"<Blob><Name>([^<]*)</Name><Properties>(?:<Creation-Time>[^<]*</Creation-Time>)?"
    r"<Last-Modified>([^<]*)</Last-Modified><Etag>([^<]*)</Etag>"
    r"(?:<ResourceType>[^<]*</ResourceType>)?<Content-Length>([0-9]+)</Content-Length>"
)
_NOT_PLAIN = ("<BlobPrefix>", "hdi_isfolder", "<ResourceType>directory", "&")
# A blob or, where a delimiter was asked for, a folder; another one, or the end of all, follows. Users may call metadata
# like elements.
_ITEM = re.compile(
    r"\s*<(Blob|BlobPrefix|Container)>\s*<Name( Encoded=\"true\")?>([^<]*)</Name>(.*?)</\1>\s*"
    r"(?=<(?:Blob|BlobPrefix|Container)>\s*<Name[ >]|</(?:Blobs|Containers)>)",
    re.DOTALL,
)
_QUOTE = '"'
_LIST = re.compile(r"<(Blobs|Containers)>(.*)</\1>", re.DOTALL)
_USUAL = re.compile(
    r"<Last-Modified>([^<]*)</Last-Modified><Etag>([^<]*)</Etag>"
    r"(?:<ResourceType>[^<]*</ResourceType>)?<Content-Length>([0-9]+)</Content-Length>"
)
_DATE = re.compile(r"<Last-Modified>([^<]*)</Last-Modified>")
_ETAG = re.compile(r"<Etag>([^<]*)</Etag>")
_LENGTH = re.compile(r"<Content-Length>([0-9]+)</Content-Length>")
_MARKER = re.compile(r"<NextMarker>([^<]+)</NextMarker>")
_FOLDER = re.compile(r"<hdi_isfolder>true</hdi_isfolder>|<ResourceType>directory</ResourceType>", re.IGNORECASE)


def blobs(page: bytes, place: str) -> tuple[list[Entry], str]:
    """The blobs and folders of a page, in order, and the marker of the next one (empty: it is the last).

    What stands for a folder (on accounts with a hierarchical namespace, or left by other tools) is given as one.
    """
    text = _text(page, place)
    if not any(mark in text for mark in _NOT_PLAIN):
        rows = _PLAIN.findall(text)
        if len(rows) == text.count("<Blob>"):
            quoted = (f'"{etag.strip(_QUOTE)}"' for _, _, etag, _ in rows)
            found = zip(rows, quoted, strict=True)
            return [Entry("blob", name, int(size), etag, date) for (name, date, _, size), etag in found], _next(text)
    return [_entry(*parts) for parts in _items(text, place)], _next(text)


def _items(text: str, place: str) -> list[tuple[str, str, str, str]]:
    """Kind, encoding, name and all else of each entry; StorageError unless they are all that the list holds."""
    found: list[tuple[str, str, str, str]] = []
    end = 0
    listed = _LIST.search(text)
    whole = f"{listed[2]}</{listed[1]}>" if listed else ""
    while item := _ITEM.match(whole, end):
        found.append((item[1], item[2] or "", item[3], item[4]))
        end = item.end()
    if listed and end != len(listed[2]) and listed[2][end:].strip():
        raise _strange(place, "an entry of it cannot be read")
    return found


def containers(page: bytes, place: str) -> tuple[list[Entry], str]:
    """The containers of a page, and the marker of the next one."""
    text = _text(page, place)
    found = [
        Entry("container", _unescape(name), changed=_first(_DATE, rest)) for _, _, name, rest in _items(text, place)
    ]
    return found, _next(text)


def _entry(kind: str, encoded: str, raw: str, rest: str) -> Entry:
    name = _unescape(raw)
    if encoded:  # since 2021-02-12, for names with characters that XML cannot hold
        name = unquote(name)
    if kind == "BlobPrefix":
        return Entry("folder", name)
    if usual := _USUAL.search(rest):
        date, etag, length = usual.groups()
    else:
        date, etag, length = _first(_DATE, rest), _first(_ETAG, rest), _first(_LENGTH, rest) or "0"
    # Listings give it without its quotes or, since 2025, with them, escaped.
    etag = f'"{_unescape(etag).strip(_QUOTE)}"' if etag else ""
    if ("hdi_isfolder" in rest or "directory" in rest) and _FOLDER.search(rest):
        return Entry("folder", name if name.endswith("/") else f"{name}/", 0, etag, date, (), name)
    return Entry("blob", name, int(length), etag, date)


def _text(page: bytes, place: str) -> str:
    try:
        text = page.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _strange(place, "it is not UTF-8") from error
    if "<EnumerationResults" not in text or not text.rstrip().endswith("</EnumerationResults>"):
        raise _strange(place, "it is no whole listing")
    return text


def _next(text: str) -> str:
    found = _MARKER.search(text)
    return _unescape(found[1]) if found else ""


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    import html

    return html.unescape(text)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _strange(place: str, cause: str) -> StorageError:
    return StorageError(f"what came as the listing of {place} cannot be read", cause=cause, next_step="try again")
