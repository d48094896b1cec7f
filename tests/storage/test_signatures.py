"""Signatures made of a key: they open what they say and no more, are renewed in time, and are all that a worker has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import generate_container_sas

import azray_lab
from azray_lab.errors import CredentialError, UsageError
from azray_lab.storage.credentials import Account, signatures
from azray_lab.storage.engine import Engine
from azray_lab.storage.filesystem import BlobFileSystem

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite

_HOUR = 3600.0


def _engine(azurite: Azurite, sas: str) -> Engine:
    return Engine(Account(azurite.blob_endpoint, "a test", sas=sas, mode="sas"))


@pytest.fixture
def service(azurite: Azurite) -> Azurite:
    """A service with a blob in each of two containers."""
    for container in ("data", "other"):
        azurite.container(container)
        own = Engine(Account.from_connection_string(azurite.connection_string))
        own.put(container, "x", b"there")
    return azurite


def test_a_signature_opens_the_accounts_blobs(service: Azurite):
    """Everything that a key does with containers and blobs, by obstore and by our own lines."""
    engine = _engine(service, signatures.sign(service.blob_endpoint, service.key, time.time() + _HOUR))
    assert bytes(engine._fast.begin("data", "x", 0, 10).body().data) == b"there"
    engine.put("data", "a//b", b"1")
    engine.copy(("data", "a//b"), ("data", "copied"))
    assert {one.name for one in engine.list("data")} >= {"x", "a//b", "copied"}
    assert engine.delete("data", "copied")
    assert engine.create_container("made")
    assert "made" in [one.name for one in engine.containers()]
    assert engine.delete_container("made")


@pytest.mark.parametrize("container", ["", "data"])
def test_behind_a_custom_domain_a_signature_is_the_accounts(container: str):
    """What is signed has the account's name, which such an address does not tell."""
    key = "c2VjcmV0LWtleQ=="
    plain = signatures.sign("https://acc.blob.core.windows.net", key, _HOUR, container)
    assert signatures.sign("https://data.example.org", key, _HOUR, container, "acc") == plain
    assert signatures.sign("https://data.example.org", key, _HOUR, container) != plain


def test_a_containers_signature_opens_that_alone(service: Azurite):
    """Neither the other container, nor the list of containers; and nothing after its end."""
    sas = signatures.sign(service.blob_endpoint, service.key, time.time() + _HOUR, "data")
    engine = _engine(service, sas)
    engine.put("data", "a//b", b"1")
    assert engine.get_bytes("data", "x") == b"there"
    for closed in (lambda: engine.get_bytes("other", "x"), lambda: list(engine.containers())):
        with pytest.raises(CredentialError, match="403"):
            closed()
    ended = _engine(service, signatures.sign(service.blob_endpoint, service.key, time.time() - _HOUR, "data"))
    with pytest.raises(CredentialError, match="403"):
        ended.get_bytes("data", "x")


def test_what_a_signature_lacks_is_mended_by_another_one(service: Azurite):
    """No role given to somebody helps: the step makes a new signature, and tells what this one permits."""
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    names = service.account, "data"
    sas = generate_container_sas(*names, account_key=service.key, permission="rl", expiry=expiry)
    with pytest.raises(CredentialError, match="AuthorizationPermissionMismatch") as caught:
        _engine(service, sas).put("data", "y", b"1")
    step = caught.value.next_step
    assert "role" not in step
    assert "a new signature with the permissions that are needed: az storage container generate-sas" in step
    assert "this one has sp=rl" in step
    assert sas.partition("sig=")[2] not in str(caught.value)
    ended = signatures.sign(service.blob_endpoint, service.key, time.time() - _HOUR)
    with pytest.raises(CredentialError, match="has expired") as caught:
        _engine(service, ended).put("data", "y", b"1")
    assert "az storage account generate-sas" in caught.value.next_step


def test_an_engine_goes_on_with_the_next_signature(service: Azurite):
    """One engine over days: a new signature after half of a life, for obstore, our own lines and who gets it."""
    now = [time.time() - 13 * _HOUR]
    made: list[float] = []

    def make(ends: float) -> str:
        made.append(ends)
        return signatures.sign(service.blob_endpoint, service.key, ends)

    renewal = signatures.Renewal(make, lambda: now[0])
    signatures.renew_with(renewal)
    engine = _engine(service, renewal.first[0])
    with pytest.raises(CredentialError, match="403"):  # it ended an hour ago
        engine.get_bytes("data", "x")
    files = BlobFileSystem(service.blob_endpoint, sas_token=renewal.first[0])
    for _ in range(3):
        now[0] += 13 * _HOUR
        files.setxattrs("data/x", owner="me")  # which is adlfs's
        assert engine.get_bytes("data", "x") == b"there"
        assert bytes(engine._fast.begin("data", "x", 0, 10).body().data) == b"there"
        assert engine.exists("data", "x")
    assert len(made) == 4
    now[0] += 5 * _HOUR
    current, ends = renewal.current()
    assert len(made) == 4
    assert ends - now[0] > 6 * _HOUR
    assert engine.account.environment()["AZURE_STORAGE_SAS_TOKEN"] == current != renewal.first[0]


_WORKER = """
import json, os, sys
from azray_lab.workers.setup import set_up
set_up()
import azray_lab
from azray_lab.errors import CredentialError
from azure.storage.blob import BlobServiceClient
found = {}
for place in ("data/x", "other/x"):
    try:
        found[place] = azray_lab.filesystem("az://").cat_file(place).decode()
    except CredentialError as error:
        found[place] = error.facts["status"]
text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
if text:
    with BlobServiceClient.from_connection_string(text) as service:
        found["sdk"] = service.get_blob_client("data", "x").download_blob().readall().decode()
found["key"] = sys.argv[1] in repr(dict(os.environ)) + open("/proc/self/environ").read()
found["mode"] = azray_lab.filesystem("az://").account.mode
print(json.dumps(found))
"""


def _worker(service: Azurite, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], **options: Any) -> Any:
    """What a worker finds that was started with such a runtime environment, and no other variable of Azure's."""
    import json

    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    sealed = azray_lab.runtime_env(credentials=given, **options)["env_vars"]
    command = [sys.executable, "-c", _WORKER, service.key]
    done = subprocess.run(command, env={**bare, **sealed}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_worker_has_a_signature_and_not_the_key(service: Azurite, monkeypatch: pytest.MonkeyPatch):
    """In the mode in which the key came; Azure's SDK opens the connection string that is there."""
    by_string = _worker(service, monkeypatch, service.environment())
    opened = {"data/x": "there", "other/x": "there", "sdk": "there"}
    assert by_string == {**opened, "key": False, "mode": "connection_string"}
    by_key = {"AZURE_STORAGE_ACCOUNT_URL": service.blob_endpoint, "AZURE_STORAGE_KEY": service.key}
    limited = _worker(service, monkeypatch, by_key, limit_to="data")
    assert limited == {"data/x": "there", "other/x": 403, "key": False, "mode": "sas"}
    assert _worker(service, monkeypatch, by_key, keys=True)["key"]


def test_what_cannot_be_limited_is_told(monkeypatch: pytest.MonkeyPatch):
    """An identity's rights are its roles."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    given = {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_AUTH_MODE": "managed_identity"}
    with pytest.raises(UsageError, match="cannot be limited to data"):
        azray_lab.runtime_env(credentials=given, limit_to="data")
