"""Paths as the file system has them: `container/path`, without scheme and account."""

from __future__ import annotations

import os
from typing import Any

from azray_lab.errors import UsageError
from azray_lab.spec.uri import BlobUri


def parse(path: str) -> BlobUri:
    """A path with a scheme, `azray://` among them."""
    scheme, found, rest = path.partition("://")
    return BlobUri.parse(f"az://{rest}" if found and scheme.lower() == "azray" else path)


def own_path(endpoint: str, path: Any) -> Any:
    """`container/path`; UsageError for one of another account than `endpoint` (empty: any)."""
    if isinstance(path, list):
        return [own_path(endpoint, one) for one in path]
    text = os.fspath(path)
    if "://" not in text:
        return text.lstrip("/")
    uri = parse(text)
    if uri.endpoint and endpoint and uri.endpoint != endpoint:
        raise UsageError(
            "a file system knows its own account only",
            cause=f"{uri} names another one",
            next_step="open it with azray_lab.filesystem(uri), then use paths like container/path",
        )
    return f"{uri.container}/{uri.path}" if uri.path else uri.container
