"""The fsspec file system for Blob storage: adlfs's shape, with the engine underneath for what has to be fast.

Reading, writing, finding and listing are the engine's; versions, tags, customer keys and what else has options of its
own stay adlfs's. Importing this module loads adlfs (0.3 s); everything else in `storage` stays light.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec
from adlfs import AzureBlobFileSystem
from fsspec.asyn import get_loop, sync, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK

from azray_lab.errors import StorageError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.beyond import Beyond
from azray_lab.storage.changing import Changing
from azray_lab.storage.clients import async_service
from azray_lab.storage.credentials import Account, Credentials, signatures
from azray_lab.storage.credentials import credentials as credentials_of
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.looking import Looking, as_files
from azray_lab.storage.opening import BlobFile, Opening
from azray_lab.storage.paths import account_in, own_path
from azray_lab.storage.places import FileToBlob
from azray_lab.storage.sending import send_file
from azray_lab.storage.travelling import ADLFS, Travelling, variables

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
PROTOCOLS = ("azray", "az", "abfs", "abfss")
# Requests of one call; the engine bounds the bytes under way.
_AT_ONCE = 64


def filesystem(
    uri: str | BlobUri | None = None,
    *,
    credentials: Credentials | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> AbstractFileSystem:
    """An fsspec file system for the storage account that `uri` means, or that of the environment.

    Its paths are `container/path` or `az://container/path`. It raises what fsspec users expect (FileNotFoundError,
    FileExistsError), and CredentialError and StorageError, which say what to do. `options` are adlfs's. Listings are
    not cached unless `use_listings_cache=True`, for workers write what the driver then looks for.

    It can be pickled, and so goes to Ray's workers. A connection string, key or signature travels inside the pickle,
    sealed with the cluster's token where this process is connected to one; an identity does not: a worker uses its own,
    which `azray_lab.runtime_env` brings. Makes no request. Raises CredentialError when no account is set.
    """
    if credentials is not None:
        environ = credentials.export()
    account = Account.of(BlobUri.parse(uri or "az://"), environ)
    given = Credentials(variables(account))
    return BlobFileSystem(account.endpoint, credentials=given, **{"use_listings_cache": False, **options})


def take_over(*protocols: str) -> None:
    """Makes this fsspec's file system of `az://`, `abfs://` and `abfss://` (or of `protocols`) in this process.

    So pandas, pyarrow, dask and others use it for these. In Ray's workers it is done by
    `azray_lab.runtime_env(worker_process_setup_hook="azray_lab.storage.filesystem.take_over")`.
    """
    for protocol in protocols or PROTOCOLS:
        fsspec.register_implementation(protocol, BlobFileSystem, clobber=True)


class BlobFileSystem(Travelling, Opening, Changing, Looking, Beyond):
    """adlfs for one account. Its arguments are plain, so that fsspec can tell instances apart and pickle them.

    `endpoint` is the account's address, None: that of the environment. Credentials are given as `credentials`, or by
    adlfs's names, or are those of the environment.
    """

    protocol = PROTOCOLS
    _file = BlobFile
    _pid: int

    def __init__(
        self, endpoint: str | None = None, *, credentials: Credentials | None = None, anon: bool = False, **options: Any
    ) -> None:
        named = {ours: options.pop(name) for name, ours in ADLFS.items() if options.get(name)}
        if options.pop("credential", None) is not None:
            raise UsageError("credential= is not taken here", next_step="credentials=azray_lab.credentials(...)")
        if host := options.pop("account_host", None):
            endpoint = endpoint or f"https://{host}"
        if endpoint and named:
            named["account"] = endpoint
        if credentials is None and (named or anon):
            credentials = credentials_of("anonymous" if anon else None, **named)
        # do_connect, which adlfs's __init__ calls, needs it.
        where = BlobUri(endpoint=endpoint or "")
        self.account = Account.of(where, None if credentials is None else credentials.export())
        self._settled: Account | None = None
        # `anon` keeps adlfs from looking for credentials of its own.
        super().__init__(anon=True, account_name=self.account.name, **{"default_cache_type": "azray", **options})
        # adlfs fills what it was not given from the environment, which may name another account.
        self.connection_string, self.sas_token = self.account.connection_string or None, self.account.sas or None
        self.account_key = self.account.key or None
        # Paths of other accounts are refused by instances; the class cannot know.
        self.__dict__["_strip_protocol"] = functools.partial(own_path, self.account.endpoint)

    @property
    def loop(self) -> Any:
        """Where fsspec waits; in a forked child, as torch's data loaders are, the child's own. adlfs refuses there."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = None if self.asynchronous else get_loop()
            self.do_connect()
        return self._loop

    def do_connect(self) -> None:
        """Makes the client for what stays adlfs's; adlfs calls it once. No request."""
        if signatures.end_of(self.account.sas) is not None:
            plain = replace(self.account, sas="", connection_string="")
            self.service_client = async_service(plain, signatures.for_sdk(self.account.sas))
            return
        # An address without TLS takes no token; then only a public container can be read.
        secure = self.account.endpoint.startswith("https://")
        tokens = self.account.token_credential() if secure else None
        self.service_client = async_service(self.account, tokens.asynchronous() if tokens else None)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """`container/path` of a path or URI, as it is; adlfs's own reads `?` and `#` in names as URLs do."""
        return own_path("", path)

    @staticmethod
    def _get_kwargs_from_urls(urlpath: str) -> dict[str, Any]:
        """The account that a URL names, for `fsspec.open("azray://container@account.dfs.core.windows.net/path")`."""
        return account_in(urlpath)

    # The engine.

    def engine(self, container: str = "") -> Engine:
        """The engine of this account, which the whole process shares."""
        if self._settled is None or (not self._settled.chosen and container):
            self._settled = self.account.settled(BlobUri(container, "", self.account.endpoint) if container else None)
        return engine_for(self._settled)

    def place(self, path: str) -> tuple[Engine, str, str]:
        """The engine, container and name that `path` means."""
        container, name, _ = self.split_path(path)
        return self.engine(container), container, name

    def blob_at(self, path: str) -> tuple[Engine, str, str]:
        """The same for a path that must name a blob; IsADirectoryError for a container."""
        engine, container, name = self.place(path)
        if not name:
            raise IsADirectoryError(errno.EISDIR, "it is a container", path)
        return engine, container, name

    async def aside(self, work: Callable[..., T], path: Any, *arguments: Any) -> T:
        """Calls `work(path, ...)`, which waits for the engine, in a thread; errors about `path` are the system's."""

        def call() -> T:
            with as_files(path):
                return work(path, *arguments)

        return await asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), call)

    # Reading.

    def read_range(self, path: str, start: int, end: int, etag: str = "") -> bytes:
        """The bytes [start, end) of a blob, of that version."""
        engine, container, name = self.blob_at(path)
        with as_files(path):
            return engine.get_bytes(container, name, start, end, etag)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        options.pop("max_concurrency", None)
        if self.elsewhere(options):
            return await super()._cat_file(path, start, end, **options)
        return await self.aside(self._cat, self._strip_protocol(path), start, end)

    def _cat(self, path: str, start: int | None, end: int | None) -> bytes:
        engine, container, name = self.blob_at(path)
        if (start or 0) < 0 or (end or 0) < 0:  # from the end, as slices do
            found = engine.stat(container, name)
            if found is None:
                raise FileNotFoundError(path)
            start, end, _ = slice(start, end).indices(found.size)
            if start >= end:
                return b""
        return engine.get_bytes(container, name, start or 0, end)

    async def _cat_ranges(
        self, paths: list[str], starts: Any, ends: Any, on_error: str = "return", **_: Any
    ) -> list[Any]:
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        calls = [self._cat_file(*one) for one in zip(paths, starts, ends, strict=True)]
        return await _together(calls, on_error)

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's
        """The content of a file, or of many as a dictionary by path; 64 requests at a time."""
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and not isinstance(path, list) and paths[0] == self._strip_protocol(path):
            return self.cat_file(paths[0], **options)
        paths = [one for one in paths if not recursive or self.isfile(one)]
        contents = sync(self.loop, self._cat_all, paths, on_error, options)
        pairs = zip(paths, contents, strict=True)
        return {one: found for one, found in pairs if on_error != "omit" or not isinstance(found, Exception)}

    async def _cat_all(self, paths: list[str], on_error: str, options: Mapping[str, Any]) -> list[Any]:
        return await _together([self._cat_file(path, **options) for path in paths], on_error)

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **options: Any) -> None:
        options = {name: value for name, value in options.items() if name not in {"recursive", "max_concurrency"}}
        if self.elsewhere(options) or not isinstance(lpath, (str, os.PathLike)):
            await super()._get_file(rpath, lpath, callback=callback, **options)
        else:
            await self.aside(self._download, self._strip_protocol(rpath), os.fspath(lpath), callback)

    def _download(self, path: str, to: str, callback: Any) -> None:
        engine, container, name = self.place(path)
        if name.endswith("/") and to.endswith("/") and self.look(path)["type"] == "file":
            raise StorageError(
                f"the blob {name!r} cannot be a local file",
                cause="its name ends with a slash",
                next_step="give it another name: fs.get_file(path, 'name')",
            )
        target = Path(to)
        if target.is_dir():  # `get` gives folders, too, and has made those of the files
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        found = engine.get_file(container, name, target) if name else None
        if found is not None:
            callback.set_size(found.size)
            callback.absolute_update(found.size)
        elif self.look(path)["type"] == "directory":
            target.mkdir(exist_ok=True)

    async def _get(self, *paths: Any, batch_size: int | None = None, **options: Any) -> Any:
        options.pop("max_concurrency", None)
        return await super(AzureBlobFileSystem, self)._get(*paths, batch_size=batch_size or _AT_ONCE, **options)

    # Writing.

    async def _pipe_file(self, path: str, value: Any, overwrite: bool = True, **options: Any) -> Any:  # noqa: FBT001, FBT002 - adlfs's
        overwrite = overwrite and options.pop("mode", "") != "create"
        options.pop("max_concurrency", None)
        if self.elsewhere(options):
            return await super()._pipe_file(path, value, overwrite=overwrite, **options)
        await self.aside(self._upload, self._strip_protocol(path), value, overwrite)
        self.invalidate_cache(self._parent(path))
        return None

    def _upload(self, path: str, value: Any, overwrite: bool) -> None:  # noqa: FBT001 - a thread's arguments
        engine, container, name = self.blob_at(path)
        engine.put(container, name, value, overwrite=overwrite)

    async def _pipe(self, *paths: Any, batch_size: int | None = None, **options: Any) -> Any:
        return await super(AzureBlobFileSystem, self)._pipe(*paths, batch_size=batch_size or _AT_ONCE, **options)

    async def _put_file(
        self, lpath: Any, rpath: str, delimiter: str = "/", overwrite: bool = True,  # noqa: FBT001, FBT002 - adlfs's
        callback: Any = DEFAULT_CALLBACK, **options: Any,
    ) -> None:  # fmt: skip
        overwrite = overwrite and options.pop("mode", "") != "create"
        options.pop("max_concurrency", None)
        if self.elsewhere(options) or await asyncio.to_thread(os.path.isdir, lpath):
            await super()._put_file(lpath, rpath, delimiter, overwrite, callback, **options)
            return
        await self.aside(self._upload_file, self._strip_protocol(rpath), Path(lpath), overwrite, callback)
        self.invalidate_cache(self._parent(rpath))

    def _upload_file(self, path: str, source: Path, overwrite: bool, callback: Any) -> None:  # noqa: FBT001 - the same
        source.stat()  # FileNotFoundError, which libraries wait for
        engine, *place = self.blob_at(path)
        item = FileToBlob(engine, source, (place[0], place[1]), check=False, overwrite=overwrite)
        (callback or DEFAULT_CALLBACK).set_size(item.size)
        send_file(item)
        (callback or DEFAULT_CALLBACK).absolute_update(item.size)

    async def _put(self, *paths: Any, batch_size: int | None = None, **options: Any) -> Any:
        options.pop("max_concurrency", None)
        return await super(AzureBlobFileSystem, self)._put(*paths, batch_size=batch_size or _AT_ONCE, **options)

    # adlfs has these as its own methods, not as fsspec's.
    get_file = sync_wrapper(_get_file)
    put_file = sync_wrapper(_put_file)
    pipe_file = sync_wrapper(_pipe_file)


async def _together(calls: list[Any], on_error: str) -> list[Any]:
    """The results in order; errors among them unless `on_error` is "raise"."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and (on_error == "raise" or not isinstance(result, Exception)):
            raise result
    return list(results)


@functools.lru_cache(maxsize=1)
def _pool(_pid: int) -> ThreadPoolExecutor:
    # By process: a forked child has none of the threads.
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="azray-fsspec")
