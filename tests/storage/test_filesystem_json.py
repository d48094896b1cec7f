"""The file system as JSON, and what it takes from adlfs: storage options, and calls with options of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from azray_lab.errors import CredentialError
from azray_lab.storage.credentials import credentials
from azray_lab.storage.filesystem import BlobFileSystem, filesystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from azray_lab.testing.azurite import Azurite


@pytest.mark.azurite
def test_it_comes_back_from_json(azurite: Azurite, monkeypatch: pytest.MonkeyPatch):
    """By the environment where that had the key; by its own storage options where it was given by them."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    azurite.container("data")
    own = fsspec.filesystem("azray", connection_string=azurite.connection_string, use_listings_cache=False)
    given = credentials(connection_string=azurite.connection_string)
    own.pipe_file("data/json", b"1")
    for files in (own, filesystem("az://data"), filesystem(credentials=given)):
        for again in (fsspec.AbstractFileSystem.from_json(files.to_json()), BlobFileSystem.from_dict(files.to_dict())):
            assert again.account.endpoint == files.account.endpoint
            assert again.cat_file("data/json") == b"1"


def _secret(files: AbstractFileSystem, secret: str, **how: bool) -> bool:
    assert json.loads(files.to_json(**how)) == files.to_dict(**how)
    return secret in files.to_json(**how)


def test_secrets_in_json():
    """Those that were given as storage options, as fsspec has it, and on request not even these; never another."""
    secret = "c2VjcmV0LXNlY3JldA=="
    string = f"AccountName=acc;AccountKey={secret};EndpointSuffix=core.windows.net"
    environ = {"AZURE_STORAGE_CONNECTION_STRING": string}
    assert not _secret(filesystem("az://data", environ=environ), secret)
    given = credentials(account="acc", account_key=secret, environ={})
    assert not _secret(BlobFileSystem(credentials=given), secret)
    plain = fsspec.filesystem("azray", account_name="acc", account_key=secret)
    assert _secret(plain, secret)
    assert not _secret(plain, secret, include_password=False)
    assert plain.to_dict(include_password=False)["args"] == ["https://acc.blob.core.windows.net"]


def test_an_anonymous_one_stays_anonymous():
    """However that was said."""
    for files in (
        filesystem("az://anonymous@acc.blob.core.windows.net/data"),
        BlobFileSystem("https://acc", anon=True),
    ):
        assert BlobFileSystem.from_dict(files.to_dict()).account.mode == "anonymous"


def test_the_host_of_a_national_cloud():
    """As adlfs takes it in `account_host`, with a key and without."""
    host = "acc.blob.core.chinacloudapi.cn"
    keyed = fsspec.filesystem("azray", account_name="acc", account_key="c2VjcmV0", account_host=host)
    for files in (keyed, fsspec.filesystem("azray", account_name="acc", account_host=host, anon=True)):
        assert files.account.endpoint == f"https://{host}"
        assert BlobFileSystem.from_dict(files.to_dict()).account.endpoint == f"https://{host}"
    assert keyed.account.key == "c2VjcmV0"


@pytest.mark.azurite
def test_refusals_of_what_stays_adlfs(azurite: Azurite):
    """A wrong key and a missing container are told by calls with adlfs's own options as by all others."""
    azurite.container("data")
    right = filesystem(environ=azurite.environment())
    right.pipe_file("data/tagged", b"1", tags={"a": "b"})
    assert right.cat_file("data/tagged", timeout=10) == b"1"
    with pytest.raises(FileNotFoundError):
        right.pipe_file("nowhere/tagged", b"1", tags={"a": "b"})
    string = azurite.connection_string.replace(azurite.key, "d3Jvbmc=")
    wrong = filesystem(environ={"AZURE_STORAGE_CONNECTION_STRING": string}, version_aware=True)
    calls: list[Any] = [
        lambda: wrong.info("data/tagged", version_id="x"),
        lambda: wrong.ls("data"),
        lambda: wrong.cat_file("data/tagged"),
        lambda: wrong.pipe_file("data/tagged", b"2", tags={"a": "b"}),
        lambda: wrong.put_file(__file__, "data/tagged", tags={"a": "b"}),
        lambda: wrong.rm_file("data/tagged"),
    ]
    for call in calls:
        with pytest.raises(CredentialError, match="may not be accessed"):
            call()
