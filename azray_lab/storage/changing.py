"""Making, removing and copying as fsspec has it, done by the engine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from adlfs import AzureBlobFileSystem
from fsspec.asyn import sync_wrapper

from azray_lab.errors import BlobNotFoundError, CredentialError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.looking import is_marker

if TYPE_CHECKING:
    from azray_lab.storage.engine import Engine


class Changing:
    """The part of the file system that removes and copies; `place`, `aside` and `look` are the file system's."""

    version_aware: bool
    place: Callable[[str], tuple[Engine, str, str]]
    blob_at: Callable[[str], tuple[Engine, str, str]]
    look: Callable[[str], dict[str, Any]]
    aside: Any
    invalidate_cache: Any
    _parent: Any
    _strip_protocol: Any

    def elsewhere(self, options: Mapping[str, Any]) -> bool:
        """Whether a call has options that only adlfs knows."""
        return bool(self.version_aware or {name for name, value in options.items() if value is not None})

    async def _mkdir(self, path: str, create_parents: bool = True, *_: Any, **options: Any) -> None:  # noqa: FBT001, FBT002 - fsspec's
        exist_ok = options.get("exist_ok", True)
        await self.aside(self._make, self._strip_protocol(path).rstrip("/"), create_parents, exist_ok)
        self.invalidate_cache()

    def _make(self, path: str, create_parents: bool, exist_ok: bool) -> None:  # noqa: FBT001 - a thread's arguments
        """Makes the container of `path`, if need be; folders need no making."""
        engine, container, name = self.place(path)
        BlobUri(container)
        made = False
        try:
            made = bool(container) and (create_parents or not name) and engine.create_container(container)
        except CredentialError:
            # Who may do all in a container may not make any; where it can be listed, it is there.
            if not name:
                next(engine.list(container), None)
        if not made and not exist_ok:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if not create_parents and name:
            next(engine.list(container), None)  # FileNotFoundError

    async def _rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:  # noqa: FBT001, FBT002 - fsspec's
        given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        paths = await self._expand_path(given, maxdepth=maxdepth)
        await asyncio.gather(*(self.aside(self._remove, one, recursive) for one in paths))
        self.invalidate_cache()

    def _remove(self, path: str, recursive: bool) -> None:  # noqa: FBT001 - a thread's arguments
        engine, container, name = self.place(path)
        if not name:
            if not recursive and next(engine.list(container), None) is not None:
                raise IsADirectoryError(errno.EISDIR, "it is a container with blobs; recursive=True removes it", path)
            engine.delete_container(container)
            return
        folder = name.rstrip("/")
        names = [entry.stored for entry in engine.list(container, f"{folder}/")] if recursive else []
        # Longer names first, so that a folder of a hierarchical account is empty when it is its turn.
        for depth in sorted({one.count("/") for one in names}, reverse=True):
            engine.delete_many((container, one) for one in names if one.count("/") == depth)
        if recursive and name != folder and (marker := engine.stat(container, folder)) and is_marker(marker):
            engine.delete(container, folder)
        if not engine.delete(container, name) and not names:
            found = self.look(path)  # FileNotFoundError
            if not recursive and found["type"] == "directory":
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)

    async def _rmdir(self, path: str, *_: Any, **__: Any) -> None:
        await self.aside(self._remove_empty, self._strip_protocol(path).rstrip("/"))
        self.invalidate_cache()

    def _remove_empty(self, path: str) -> None:
        """Removes an empty container, or the blob that stands for an empty folder; OSError when something is in it."""
        engine, container, name = self.place(path)
        prefix = f"{name}/" if name else ""
        if not container or any(one.name != prefix or one.size for one in engine.list(container, prefix)):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        if not name:
            engine.delete_container(container)
            return
        with contextlib.suppress(FileNotFoundError):  # without a blob in it there is no folder, and nothing to do
            if self.look(path)["type"] == "file":
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            engine.delete_many([(container, prefix), (container, name)])

    async def _rm_file(self, path: str, **options: Any) -> None:
        if self.elsewhere(options):
            await super()._rm_file(path, **options)  # type: ignore[misc]  # adlfs's
        else:
            await self.aside(self._remove, self._strip_protocol(path), False)  # noqa: FBT003 - a thread's arguments
            self.invalidate_cache(self._parent(path))

    async def _cp_file(self, path1: str, path2: str, **options: Any) -> None:
        if self.elsewhere(options):
            await super()._cp_file(path1, path2, **options)  # type: ignore[misc]  # adlfs's
            return
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        await self.aside(self._copy_blob, source, target)
        self.invalidate_cache(self._parent(target))

    def _copy_blob(self, source: str, target: str) -> None:
        engine, *place = self.place(source)
        if not place[1]:
            raise FileNotFoundError(errno.ENOENT, "it is a container", source)
        try:
            engine.copy((place[0], place[1]), self.blob_at(target)[1:])
        except BlobNotFoundError:
            # A folder is copied by what is in it; `mv` asks for each folder, too.
            if self.look(source)["type"] != "directory":
                raise

    async def _setxattrs(self, rpath: str, **names: str) -> None:
        await self.aside(self._set_metadata, self._strip_protocol(rpath), names)
        self.invalidate_cache(self._parent(rpath))

    def _set_metadata(self, path: str, names: Mapping[str, str]) -> None:
        """These in the place of all that there are. One request."""
        engine, container, name = self.blob_at(path)
        headers = {f"x-ms-meta-{key}": value for key, value in names.items()}
        engine.wire.ask("PUT", container, name, query={"comp": "metadata"}, headers=headers)

    async def _expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, *_: Any, **options: Any,  # noqa: FBT001, FBT002 - fsspec's
    ) -> list[str]:  # fmt: skip
        literal = {"assume_literal": True} if options.get("assume_literal") else {}
        found: list[str] = await super(AzureBlobFileSystem, self)._expand_path(  # type: ignore[misc]  # fsspec's
            path, recursive, maxdepth, **literal
        )
        return found

    expand_path = sync_wrapper(_expand_path)
    mkdir = sync_wrapper(_mkdir)
    rm = sync_wrapper(_rm)
    rmdir = sync_wrapper(_rmdir)
    cp_file = sync_wrapper(_cp_file)
    setxattrs = sync_wrapper(_setxattrs)
