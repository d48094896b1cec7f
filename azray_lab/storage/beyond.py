"""What stays adlfs's, such as versions and tags; its errors become ours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adlfs import AzureBlobFileSystem

from azray_lab.storage.engine import faults
from azray_lab.storage.engine.connections import Answer
from azray_lab.storage.looking import as_files

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Account


def _told(name: str, which: int = 0) -> Callable[..., Any]:
    """The method `name` of adlfs, whose argument `which` is the path; refusals are raised as the engine's are."""
    method = getattr(AzureBlobFileSystem, name)

    @functools.wraps(method)
    async def call(self: Beyond, *arguments: Any, **options: Any) -> Any:
        from azure.core.exceptions import HttpResponseError

        try:
            return await method(self, *arguments, **options)
        except HttpResponseError as error:
            if error.response is None:
                raise
            with as_files(arguments[which]):
                raise self.refusal(arguments[which], error) from error

    return call


class Beyond(AzureBlobFileSystem):  # type: ignore[misc]  # adlfs has no types
    """The file system of adlfs, for calls with options that only it knows."""

    account: Account

    def refusal(self, path: Any, error: Any) -> Exception:
        """Our error for one of the SDK's."""
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        answer = Answer(int(error.status_code or 0), headers, b"")
        return faults.refusal(answer, f"az://{self._strip_protocol(path)}", self.account)

    _info = _told("_info")
    _ls = _told("_ls")
    _find = _told("_find")
    _cat_file = _told("_cat_file")
    _get_file = _told("_get_file")
    _pipe_file = _told("_pipe_file")
    _put_file = _told("_put_file", 1)
    _rm_file = _told("_rm_file")
    _cp_file = _told("_cp_file")
