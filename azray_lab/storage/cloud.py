"""`AzureFileSystem`: the shape that Ray LLM wants of a cloud's file system, by the engine.

Ray LLM (2.60, `ray.llm._internal.common.utils.cloud_filesystem.base`) asks for four static methods that take URIs; its
own class for Azure passes them on to pyarrow. This one can stand in its place, and is as good without Ray.
"""

from __future__ import annotations

from pathlib import Path

from azray_lab import errors
from azray_lab.operation import Operation
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.copying import Done, run_copy
from azray_lab.storage.engine import engine_for
from azray_lab.storage.routes import Route


class AzureFileSystem:
    """Files in Blob storage by URI (`abfss://`, `azure://` or any other spelling), in four static methods.

    All raise CredentialError and StorageError. What is missing is none of `get_file` and `list_subfolders`, as in Ray
    LLM's other file systems, and BlobNotFoundError where it was to be copied.
    """

    @staticmethod
    def get_file(object_uri: str, decode_as_utf_8: bool = True) -> str | bytes | None:  # noqa: FBT001, FBT002 - Ray's
        """The blob as text (or bytes, without `decode_as_utf_8`); None when there is none, as for a container."""
        uri = BlobUri.parse(object_uri)
        if not uri.path:
            return None
        try:
            data = engine_for(uri).get_bytes(uri.container, uri.path)
        except errors.BlobNotFoundError:
            return None
        return data.decode() if decode_as_utf_8 else data

    @staticmethod
    def list_subfolders(folder_uri: str) -> list[str]:
        """The names, without slashes, of the folders directly below; none when there is no such folder."""
        uri = BlobUri.parse(folder_uri)
        prefix = f"{uri.path.rstrip('/')}/" if uri.path else ""
        try:
            found = list(engine_for(uri).list(uri.container, prefix, "/"))
        except errors.BlobNotFoundError:
            return []
        names = (one.name[len(prefix) :].rstrip("/") for one in found if one.kind == "folder")
        return [name for name in names if name]

    @staticmethod
    def download_files(
        path: str,
        bucket_uri: str,
        substrings_to_include: list[str] | None = None,
        suffixes_to_exclude: list[str] | None = None,
    ) -> None:
        """Copies what is below `bucket_uri` into the folder `path`, which is made; BlobNotFoundError for nothing.

        `substrings_to_include`: only blobs whose names, relative to `bucket_uri`, have one of these in them;
        `suffixes_to_exclude`: none that ends with one of these.
        """
        route = Route.parse(bucket_uri, Path(path), recursive=True)
        chosen = _Chosen(substrings_to_include or [], suffixes_to_exclude or [])
        _run(route, f"download {route.source}", chosen)
        # Made by the first file; here where none was chosen.
        Path(path).mkdir(parents=True, exist_ok=True)

    @staticmethod
    def upload_files(local_path: str, bucket_uri: str) -> None:
        """Copies the file, or all below the folder, `local_path` into `bucket_uri`."""
        folder = Path(local_path).is_dir()
        route = Route.parse(Path(local_path), bucket_uri if folder else f"{bucket_uri.rstrip('/')}/", recursive=folder)
        _run(route, f"upload {route.source}", None)


class _Chosen:
    """The names that are wanted, as something that knows `in`."""

    def __init__(self, substrings: list[str], suffixes: list[str]) -> None:
        self._substrings = substrings
        self._suffixes = tuple(suffixes)

    def __contains__(self, name: object) -> bool:
        text = str(name)
        wanted = not self._substrings or any(part in text for part in self._substrings)
        return wanted and not (self._suffixes and text.endswith(self._suffixes))


def _run(route: Route, name: str, only: _Chosen | None) -> None:
    Operation[Done](name).run(lambda operation: run_copy(route, operation, only=only))
