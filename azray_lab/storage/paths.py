"""Paths as the file system has them: `container/path`, without scheme and account."""

from __future__ import annotations

import os
import re
from typing import Any

from azray_lab.errors import UsageError
from azray_lab.spec.uri import BlobUri

# A URI whose container is a pattern: `az://logs-*/2024`.
_PATTERN = re.compile(r"(?:azray|az|abfss?|azure)://([^/@?*\[]*[*?\[][^/@]*)/?(.*)", re.DOTALL | re.IGNORECASE)


def parse(path: str) -> BlobUri:
    """A path with a scheme, `azray://` among them."""
    scheme, found, rest = path.partition("://")
    return BlobUri.parse(f"az://{rest}" if found and scheme.lower() == "azray" else path)


def account_in(url: str) -> dict[str, Any]:
    """What a URL says of its account, as arguments of the file system; nothing for a path without a scheme."""
    if "://" not in url or _PATTERN.fullmatch(url):
        return {}
    uri = parse(url)
    if uri.sas:
        return {"endpoint": uri.endpoint, "sas_token": uri.sas}
    found: dict[str, Any] = {"endpoint": uri.endpoint} if uri.endpoint else {}
    return found | ({"anon": True} if uri.anonymous else {})


def own_path(endpoint: str, path: Any) -> Any:
    """`container/path`; UsageError for one of another account than `endpoint` (empty: any), or that no blob can have.

    Containers may be patterns, for `glob`.
    """
    if isinstance(path, list):
        return [own_path(endpoint, one) for one in path]
    text = os.fspath(path)
    if pattern := _PATTERN.fullmatch(text):
        text = "/".join(part for part in pattern.groups() if part)
    if "://" not in text:
        return _checked(text.lstrip("/"))
    uri = parse(text)
    if uri.endpoint and endpoint and uri.endpoint != endpoint:
        raise UsageError(
            "a file system knows its own account only",
            cause=f"{uri} names another one",
            next_step="open it with azray_lab.filesystem(uri), then use paths like container/path",
        )
    return f"{uri.container}/{uri.path}" if uri.path else uri.container


def _checked(path: str) -> str:
    """The path, when the grammar of URIs allows the name in it; the account and container here stand for any."""
    container, _, name = path.partition("/")
    for part in (name, container) if container.startswith(".") else (name,):
        BlobUri("any", part, "https://any")
    return path
