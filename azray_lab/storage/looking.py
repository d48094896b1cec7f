"""What is there, as fsspec tells it: names, sizes and kinds, from the engine's listings and looks."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from adlfs import AzureBlobFileSystem
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.core import has_magic

from azray_lab.errors import BlobNotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from azray_lab.storage.engine import Engine, Entry

Info = dict[str, Any]
_EXISTS = frozenset({"BlobAlreadyExists", "ContainerAlreadyExists"})


@contextlib.contextmanager
def as_files(path: Any) -> Iterator[None]:
    """What is not there, or is there already, as the system's errors, which libraries on top of fsspec wait for."""
    try:
        yield
    except BlobNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except StorageError as error:
        if error.facts.get("code") in _EXISTS:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise


class Looking:
    """The part of the file system that looks; `place` and `aside` are the file system's."""

    version_aware: bool
    dircache: Any
    place: Callable[[str], tuple[Engine, str, str]]
    aside: Any
    _strip_protocol: Any

    async def _info(self, path: str, refresh: bool = False, **options: Any) -> Info:  # noqa: FBT001, FBT002 - adlfs's
        if self.version_aware or options.get("version_id"):
            found: Info = await super()._info(path, refresh=refresh, **options)  # type: ignore[misc]  # adlfs's
            return found
        return dict(await self.aside(self.look, self._strip_protocol(path)))

    def look(self, path: str) -> Info:
        """A file, folder or container; FileNotFoundError when there is none. One or two requests.

        With a slash at the end one more before: a blob of exactly that name, when it has bytes, is a file.
        """
        exact, path = path, path.rstrip("/")
        if not path:
            return _folder("")
        engine, container, name = self.place(path)
        if exact != path and name:
            found = engine.stat(container, exact.partition("/")[2])
            if found is not None and found.size and not is_marker(found):
                return _file(container, found)
        found = engine.stat(container, name) if name else None
        if found is not None:
            return _folder(path) if is_marker(found) else _file(container, found)
        # A page of one entry would do; the first page is what the engine asks for.
        if next(engine.list(container, f"{name}/" if name else "", "/"), None) is not None or not name:
            return _folder(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    async def _exists(self, path: str, **_: Any) -> bool:
        return await self._kind(path) != ""

    async def _isfile(self, path: str) -> bool:
        return await self._kind(path) == "file"

    async def _isdir(self, path: str) -> bool:
        return await self._kind(path) == "directory"

    async def _kind(self, path: str) -> str:
        try:
            return str((await self._info(path))["type"])
        except FileNotFoundError:
            return ""

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is a file, folder or container of that name."""
        return self._now(self._exists, path)

    def isfile(self, path: str) -> bool:
        """Whether it is a file."""
        return self._now(self._isfile, path)

    def isdir(self, path: str) -> bool:
        """Whether it is a folder or a container."""
        return self._now(self._isdir, path)

    def _now(self, method: Any, path: str) -> bool:
        return bool(sync(self.loop, method, path))  # type: ignore[attr-defined]  # fsspec's

    async def _ls(self, path: str, detail: bool = False, invalidate_cache: bool = False, **options: Any) -> Any:  # noqa: FBT001, FBT002 - adlfs's
        options.pop("refresh", None)
        if self.version_aware or any(options.values()):
            return await super()._ls(path, detail=detail, invalidate_cache=invalidate_cache, **options)  # type: ignore[misc]
        path = self._strip_protocol(path).rstrip("/")
        if invalidate_cache:
            self.dircache.clear()
        try:
            found = self.dircache[path]
        except KeyError:
            found = self.dircache[path] = await self.aside(self._inside, path)
        return [dict(one) for one in found] if detail else sorted(one["name"] for one in found)

    def _inside(self, path: str) -> list[Info]:
        """What a folder holds, or the file itself."""
        if not path:
            return self._containers("")
        engine, container, name = self.place(path)
        found = list(_level(engine, container, f"{name}/" if name else ""))
        if found or not name:
            return found
        itself = self.look(path)
        return [itself] if itself["type"] == "file" else []

    async def _walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "omit",  # noqa: FBT001, FBT002 - fsspec's
        detail: bool = False, **options: Any,  # noqa: FBT001, FBT002 - the same
    ) -> AsyncIterator[tuple[str, Any, Any]]:  # fmt: skip
        """Like `os.walk`; `/`.join((path, name)) is the exact name, so `/b` is a file's for the blob `a//b` in `a`."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._strip_protocol(path).rstrip("/")
        folders: dict[str, Info] = {}
        files: dict[str, Info] = {}
        try:
            for one in await self._ls(path, detail=True, **options):
                kind = folders if one["type"] == "directory" else files
                kind[one["name"][len(path) + 1 :] if path else one["name"]] = one
        except OSError as error:
            if on_error == "raise":
                raise
            if callable(on_error):
                on_error(error)
        here = (path, folders, files) if detail else (path, list(folders), list(files))
        if topdown:
            yield here
        deeper = {"maxdepth": maxdepth and maxdepth - 1, "topdown": topdown, "on_error": on_error, "detail": detail}
        for name in list(here[1]) if maxdepth != 1 else ():  # who walks may have taken some out
            async for found in self._walk(folders[name]["name"], **deeper, **options):
                yield found
        if not topdown:
            yield here

    def walk(self, path: str, maxdepth: int | None = None, **options: Any) -> Iterator[tuple[str, Any, Any]]:
        """The same, for programs without asyncio."""
        steps = self._walk(path, maxdepth, **options)
        while True:
            try:
                yield sync(self.loop, steps.__anext__)  # type: ignore[attr-defined]  # fsspec's
            except StopAsyncIteration:
                return

    async def _glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        # fsspec's, not adlfs's, which does less. It expects paths without a slash at the end; names may have one.
        if not has_magic(path) or not path.endswith("/"):
            return await AsyncFileSystem._glob(self, path, maxdepth, **options)  # noqa: SLF001 - fsspec's
        detail = options.pop("detail", False)
        found = await AsyncFileSystem._glob(self, path.rstrip("/"), maxdepth, detail=True, **options)  # noqa: SLF001
        folders = {name: info for name, info in found.items() if info["type"] == "directory"}
        return folders if detail else list(folders)

    async def _find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's
        detail, prefix = options.pop("detail", False), options.pop("prefix", "")
        if self.version_aware or any(options.values()):
            return await super()._find(path, withdirs=withdirs, prefix=prefix, detail=detail, **options)  # type: ignore[misc]
        path = self._strip_protocol(path).strip("/")
        if not path:
            found = await self._in_containers(prefix, maxdepth, withdirs)
        elif maxdepth is not None:
            found = await super(AzureBlobFileSystem, self)._find(  # type: ignore[misc]  # fsspec's
                path, maxdepth=maxdepth, withdirs=withdirs, detail=True
            )
            found = {name: info for name, info in found.items() if not prefix or name.startswith(f"{path}/{prefix}")}
        else:
            found = {one["name"]: one for one in await self.aside(self._below, path, prefix, withdirs)}
        return found if detail else list(found)

    async def _in_containers(self, prefix: str, maxdepth: int | None, withdirs: bool) -> dict[str, Info]:  # noqa: FBT001 - internal
        """What is in the containers whose names begin with `prefix`, and they themselves."""
        names = [one["name"] for one in await self.aside(self._containers, prefix)]
        found = {name: _folder(name) for name in names if withdirs}
        for name in names if maxdepth is None or maxdepth > 1 else ():
            found |= await self._find(name, maxdepth=maxdepth and maxdepth - 1, withdirs=withdirs, detail=True)
        return found

    def _containers(self, prefix: str) -> list[Info]:
        return [_folder(entry.name) for entry in self.place("")[0].containers(prefix)]

    def _below(self, path: str, prefix: str, withdirs: bool) -> list[Info]:  # noqa: FBT001 - a thread's arguments
        """All files below a folder, and the folders if they are wanted; the file itself when it is one."""
        engine, container, name = self.place(path)
        base = f"{name}/" if name else ""
        found: dict[str, Info] = {}
        with contextlib.suppress(BlobNotFoundError):  # as fsspec says: nothing is found, and that is no error
            for entry in engine.list(container, base + prefix.lstrip("/")):
                if withdirs:
                    found |= {one: _folder(one) for one in _parents(container, base, entry.name) if one not in found}
                info = _info_of(container, entry)
                if info["type"] == "file":
                    found[info["name"]] = info
                elif withdirs and info["name"] != path:
                    found.setdefault(info["name"], info)
            if not found and name and not prefix:
                itself = engine.stat(container, name)
                if itself is not None and not is_marker(itself):
                    return [_file(container, itself)]
        return [found[one] for one in sorted(found)]


def _level(engine: Engine, container: str, prefix: str) -> Iterator[Info]:
    """What a folder holds. A folder without a name (`a//`) cannot be named by a path; what is in it is given here."""
    for entry in engine.list(container, prefix, "/"):
        if entry.name == f"{prefix}/":
            yield from _level(engine, container, entry.name)
        elif entry.name != prefix or _info_of(container, entry)["type"] == "file":
            yield _info_of(container, entry)


def _parents(container: str, base: str, name: str) -> list[str]:
    """The folders between `base` and a blob that have a name."""
    parts = name[len(base) :].split("/")[:-1]
    return [f"{container}/{base}" + "/".join(parts[: count + 1]) for count, part in enumerate(parts) if part]


def is_marker(entry: Entry) -> bool:
    """Whether a blob stands for a folder: on accounts with a hierarchical namespace, and as other tools leave it."""
    facts = {name.lower(): value.lower() for name, value in entry.facts}
    marks = (f"{before}{mark}" for before in ("x-ms-meta-", "") for mark in ("hdi_isfolder", "is_directory"))
    return any(facts.get(mark) == "true" for mark in marks) or facts.get("x-ms-resource-type") == "directory"


def _info_of(container: str, entry: Entry) -> Info:
    if entry.kind == "folder" or (entry.name.endswith("/") and not entry.size) or is_marker(entry):
        return _folder(f"{container}/{entry.name.rstrip('/')}")
    return _file(container, entry)


def _folder(path: str) -> Info:
    return {"name": path, "size": None, "type": "directory"}


def _file(container: str, entry: Entry) -> Info:
    info: Info = {"name": f"{container}/{entry.name}", "size": entry.size, "type": "file", "etag": entry.etag}
    info |= {"last_modified": entry.modified, "metadata": None}
    return info | _details(entry) if entry.facts else info


def _details(entry: Entry) -> Info:
    """What a look at one blob tells and a listing does not, in adlfs's words."""
    from azure.storage.blob import ContentSettings

    from azray_lab.storage.engine.model import http_date

    facts = dict(entry.facts)
    names = ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control")
    given: dict[str, Any] = {name: facts.get(name.replace("_", "-")) for name in names}
    if md5 := facts.get("content-md5"):
        given["content_md5"] = bytearray(base64.b64decode(md5))
    created = http_date(facts.get("x-ms-creation-time", ""))
    return {"creation_time": created, "metadata": entry.metadata, "content_settings": ContentSettings(**given)}
