"""Tokens over the wire: each mode against a fake Entra ID and metadata service, renewal, refusals, and secrets."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from azray_lab import credentials
from azray_lab.errors import AzRayError, CredentialError, StorageError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.credentials import SCOPE, Account, Identity, Tokens
from azray_lab.storage.engine import engine_for
from azray_lab.testing.entra import run_entra

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite
    from azray_lab.testing.entra import Entra

_URI = BlobUri.parse("https://acc.blob.core.windows.net/data")
_SECRET = "s3cret-of-the-app"
_TENANT = "11111111-1111-1111-1111-111111111111"
_APP = {"AZURE_TENANT_ID": _TENANT, "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": _SECRET}


@pytest.fixture
def entra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """The fake services; this process's azure-identity trusts them, and finds no other."""
    with run_entra(tmp_path) as server:
        server.secrets["app"] = _SECRET
        for name, value in (server.environment() | server.imds_environment()).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # no az, azd, pwsh of this machine
        yield server


@pytest.fixture
def az(entra: Entra, tmp_path: Path) -> Path:
    """A stand-in for the Azure CLI on PATH; it counts its calls in the file that is returned."""
    del entra
    calls = tmp_path / "az-calls"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "az"
    program.write_text(f"""#!{sys.executable}
import json, sys, time
open({str(calls)!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if open({str(tmp_path / "az-says")!r}).read().strip():
    sys.stderr.write(open({str(tmp_path / "az-says")!r}).read())
    sys.exit(1)
print(json.dumps({{"accessToken": "token-of-az", "expires_on": int(time.time()) + 3600, "expiresOn": "2030-01-01"}}))
""")
    program.chmod(0o755)
    (tmp_path / "az-says").write_text("")
    return calls


def _token(environ: dict[str, str]) -> str:
    credential = Account.of(_URI, environ).token_credential()
    assert credential is not None
    return str(credential.get_token(SCOPE).token)


def _choose(mode: str, entra: Entra, **more: str) -> dict[str, str]:
    return {"AZURE_STORAGE_AUTH_MODE": mode, "AZURE_AUTHORITY_HOST": entra.authority, **more}


@pytest.mark.parametrize("mode", ["service_principal", "SERVICE_PRINCIPAL", "Service-Principal", "default"])
def test_a_service_principal_asks_its_own_tenant(entra: Entra, mode: str):
    """The mode in any case, and the default chain, which finds it first."""
    assert _token(_choose(mode, entra, **_APP)) == "token-1-of-app"
    assert entra.asked == [("secret", "app", _TENANT)]


def test_a_workload_identity_sends_its_file(entra: Entra, tmp_path: Path):
    """The token file is read when it is asked for, as AKS renews it in place."""
    file = tmp_path / "federated"
    file.write_text("federated-1")
    entra.federated["pod"] = "federated-1"
    environ = _choose("workload_identity", entra, AZURE_TENANT_ID=_TENANT, AZURE_CLIENT_ID="pod")
    environ["AZURE_FEDERATED_TOKEN_FILE"] = str(file)
    assert _token(environ) == "token-1-of-pod"
    file.write_text("another")
    other = environ | {"AZURE_CLIENT_ID": "other"}
    entra.federated["other"] = "something else"
    with pytest.raises(CredentialError, match="federated credential") as caught:
        _token(other)
    assert caught.value.facts["code"] == "AADSTS700213"
    assert "az identity federated-credential" in caught.value.next_step


@pytest.mark.parametrize("service", ["app_service", "imds"])
def test_a_managed_identity_is_the_machines(entra: Entra, monkeypatch: pytest.MonkeyPatch, service: str):
    """Through either endpoint that Azure has; a user-assigned one by its client id."""
    entra.machines.add("assigned")
    if service == "app_service":
        for name, value in entra.machine_environment().items():
            monkeypatch.setenv(name, value)
    assert _token(_choose("managed_identity", entra)) == "token-1-of-machine"
    assert _token(_choose("managed_identity", entra, AZURE_CLIENT_ID="assigned")) == "token-2-of-assigned"
    with pytest.raises(CredentialError) as caught:
        _token(_choose("managed_identity", entra, AZURE_CLIENT_ID="stranger"))
    assert "stranger" in str(caught.value)
    assert "identity assign" in caught.value.next_step


@pytest.mark.slow
def test_a_machine_without_an_identity_says_so_soon(entra: Entra, monkeypatch: pytest.MonkeyPatch):
    """Nobody at the metadata service's address: one look, and what to do."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    with pytest.raises(CredentialError, match="no managed identity answers here") as caught:
        _token(_choose("managed_identity", entra))
    assert "az vm identity assign" in caught.value.next_step


def test_the_cli_is_asked_once_an_hour(entra: Entra, az: Path):
    """Each call of `az` costs seconds, so its token is kept."""
    environ = _choose("cli", entra, AZURE_TENANT_ID=_TENANT)
    assert _token(environ) == _token(environ) == "token-of-az"
    (call,) = az.read_text().splitlines()
    assert f"--tenant {_TENANT}" in call


def test_an_expired_sign_in_names_the_command(entra: Entra, az: Path, tmp_path: Path):
    """What `az` says becomes one line with `az login` and the tenant."""
    (tmp_path / "az-says").write_text("ERROR: AADSTS700082: The refresh token has expired due to inactivity.\n")
    with pytest.raises(CredentialError, match="expired") as caught:
        _token(_choose("cli", entra, AZURE_TENANT_ID=_TENANT))
    assert caught.value.next_step == f"az login --tenant {_TENANT}"
    assert caught.value.facts["tried"] == ["cli"]
    assert az.exists()


def test_without_any_identity_all_that_was_tried_is_named(entra: Entra):
    """The default chain found nothing: who was asked, why not, and what to do."""
    entra.machines.clear()
    with pytest.raises(CredentialError) as caught:
        _token(_choose("default", entra))
    assert caught.value.facts["tried"] == ["managed_identity", "cli", "azure_developer_cli", "powershell"]
    assert "managed_identity: the machine has no identity; cli: " in caught.value.cause
    assert caught.value.next_step.startswith("az login")


def test_the_chain_goes_on_to_the_cli(entra: Entra, az: Path):
    """Where the machine has no identity, the Azure CLI's user is asked."""
    entra.machines.clear()
    assert _token(_choose("default", entra)) == "token-of-az"
    assert az.exists()


@pytest.mark.parametrize(
    ("text", "words", "step"),
    [
        ("AADSTS7000222: The provided client secret keys for app 'app' are expired.", "secret has expired", "reset"),
        ("AADSTS90002: Tenant not found.", "no such tenant", "AZURE_TENANT_ID"),
        ("AADSTS700016: Application not found.", "does not know the application", "AZURE_CLIENT_ID"),
        ("AADSTS99999: Something new.", "Something new", "AZURE_TENANT_ID"),
    ],
)
def test_entras_refusals_say_what_mends_them(entra: Entra, text: str, words: str, step: str):
    """Known codes have their own command; unknown ones keep Entra's words. The secret is in none."""
    entra.refusal = text
    with pytest.raises(CredentialError) as caught:
        _token(_choose("service_principal", entra, **_APP))
    assert words in caught.value.cause
    assert step in caught.value.next_step
    assert caught.value.facts["identity"] == f"the service principal app of tenant {_TENANT}"
    assert _SECRET not in f"{caught.value} {caught.value.to_dict()} {caught.value.__cause__!r}"


def test_a_wrong_secret_ends_the_chain(entra: Entra, az: Path):
    """An identity that is there and refused is the answer; asking the next would hide it."""
    with pytest.raises(CredentialError, match="secret is wrong"):
        _token(_choose("default", entra, **{**_APP, "AZURE_CLIENT_SECRET": "wrong"}))
    assert not az.exists()


@pytest.mark.slow
def test_an_authority_that_does_not_answer_is_named(entra: Entra):
    """Nobody at AZURE_AUTHORITY_HOST: an error, not a wait without end."""
    environ = _choose("service_principal", entra, **_APP) | {"AZURE_AUTHORITY_HOST": "https://127.0.0.1:1"}
    with pytest.raises(CredentialError, match="got no token"):
        _token(environ)


class _Clock:
    """A clock that a test moves."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class _Issuer:
    """Stands at the end of the chain as azure-identity does, without a cache of its own."""

    def __init__(self, clock: _Clock, lifetime: float) -> None:
        self.clock, self.lifetime, self.count, self.refuses = clock, lifetime, 0, False

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        from azure.core.credentials import AccessToken
        from azure.core.exceptions import ClientAuthenticationError

        if self.refuses:
            raise ClientAuthenticationError("AADSTS50173: revoked")
        self.count += 1
        return AccessToken(f"token-{self.count}", int(self.clock.now + self.lifetime))


@pytest.fixture
def issued() -> tuple[Tokens, _Clock, _Issuer]:
    """Tokens of one hour on a clock of our own."""
    clock = _Clock()
    issuer = _Issuer(clock, 3600)
    tokens = Tokens(Identity("cli"), clock)
    tokens._working = ("cli", issuer)
    return tokens, clock, issuer


def test_a_token_is_renewed_before_it_ends(issued: tuple[Tokens, _Clock, _Issuer]):
    """A transfer of hours gets a new token 5 minutes before the old one ends, and not earlier."""
    tokens, clock, _ = issued
    start = clock.now
    for minutes, expected in ((0, 1), (54, 1), (56, 2), (110, 2), (112, 3), (300, 4)):
        clock.now = start + minutes * 60
        assert tokens.get_token(SCOPE).token == f"token-{expected}"
        assert tokens.get_token(SCOPE).expires_on > clock.now
    assert tokens.provider()["token"] == "token-4"


def test_a_failed_renewal_waits_for_the_end(issued: tuple[Tokens, _Clock, _Issuer]):
    """While the old token holds, a failure to renew it does not fail the transfer; afterwards it does."""
    tokens, clock, issuer = issued
    assert tokens.get_token(SCOPE).token == "token-1"
    issuer.refuses = True
    clock.now += 3500
    assert tokens.get_token(SCOPE).token == "token-1"
    clock.now += 101
    with pytest.raises(CredentialError, match="revoked") as caught:
        tokens.get_token(SCOPE)
    assert caught.value.next_step == "az login"


def test_a_short_token_is_renewed_at_half_its_life(issued: tuple[Tokens, _Clock, _Issuer]):
    """A token of two minutes is not asked for at every request."""
    tokens, clock, issuer = issued
    issuer.lifetime = 120
    names = []
    for _ in range(6):
        names.append(tokens.get_token(SCOPE).token)
        clock.now += 25
    assert names == ["token-1", "token-1", "token-1", "token-2", "token-2", "token-2"]


def test_a_public_container_is_read_without_a_credential(
    entra: Entra, azurite: Azurite, caplog: pytest.LogCaptureFixture
):
    """The last of the order: named in the log, and only where the container is public."""
    from azure.storage.blob import BlobServiceClient

    entra.machines.clear()
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container("public", public_access="container").upload_blob("x", b"1")
        service.create_container("private")
    public = BlobUri.parse(f"{azurite.blob_endpoint}/public/x")
    with caplog.at_level(logging.WARNING, "azray_lab"):
        settled = Account.of(public, {}).settled(public)
    assert (settled.mode, settled.token_credential()) == ("anonymous", None)
    assert Account.of(public, {}).settled(public) is settled
    assert caplog.text.count("is public and is read without a credential") == 1
    private = BlobUri.parse(f"{azurite.blob_endpoint}/private/x")
    with pytest.raises(CredentialError):
        Account.of(private, {}).settled(private)
    chosen = {"AZURE_STORAGE_AUTH_MODE": "service_principal", **_APP}
    with pytest.raises(CredentialError):
        Account.of(public, chosen)


@pytest.fixture(scope="module")
def look_ups() -> list[str]:
    """The names of hosts that this process has looked up, as Python's audit events tell them; the hook stays."""
    found: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            found.append(str(arguments[0]))

    sys.addaudithook(note)
    return found


@pytest.mark.parametrize("environ", [{}, {"AZURE_STORAGE_AUTH_MODE": "cli"}])
def test_an_account_that_is_not_there_is_told_before_anybody_is_asked(
    entra: Entra, az: Path, look_ups: list[str], environ: dict[str, str]
):
    """The host is unknown, a credential chosen or not: a look-up, no token, no call of `az`, and what to check."""
    look_ups.clear()
    with pytest.raises(StorageError, match=r"there is no host no-such-account\.invalid") as caught:
        engine_for(BlobUri.parse("https://no-such-account.invalid/data/x"), environ)
    assert "account's name" in caught.value.next_step
    assert look_ups == ["no-such-account.invalid"]
    assert (entra.attempts, az.exists()) == (0, False)


def test_a_secret_for_another_tenant_in_a_program(entra: Entra):
    """`azray_lab.credentials` takes what the environment has not, and stays out of the environment."""
    given = credentials(tenant="other", client_id="app", client_secret=_SECRET, authority=entra.authority)
    assert given.check() == "the service principal app of tenant other"
    assert entra.asked == [("secret", "app", "other")]
    assert _SECRET not in f"{given!r} {given} {given.token_credential().identity!r}"
    assert "AZURE_CLIENT_SECRET" not in os.environ


def test_on_behalf_of_a_user(entra: Entra):
    """The service principal changes the user's token for one that opens storage; an old one is told."""
    entra.users.add("users-token")
    given = credentials(
        tenant=_TENANT, client_id="app", client_secret=_SECRET, user_assertion="users-token", authority=entra.authority
    )
    assert given.check().endswith("on behalf of a user")
    assert entra.asked == [("on_behalf_of", "app", _TENANT)]
    assert "users-token" not in repr(given)
    old = credentials(
        tenant=_TENANT, client_id="app", client_secret=_SECRET, user_assertion="of-yesterday", authority=entra.authority
    )
    with pytest.raises(CredentialError, match="the user's token has expired") as caught:
        old.check()
    assert "new user_assertion" in caught.value.next_step


def _certificate(ca: Path, file: Path, password: str = "") -> Any:
    """Writes a certificate with its key, as `az ad sp create-for-rbac --create-cert` does; its public key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    valid = x509.load_pem_x509_certificate(ca.read_bytes())
    built = x509.CertificateBuilder(
        name, name, key.public_key(), 1, valid.not_valid_before_utc, valid.not_valid_after_utc
    )
    pem = serialization.Encoding.PEM
    hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, hidden)
    file.write_bytes(private + built.sign(key, hashes.SHA256()).public_bytes(pem))
    return key.public_key()


def test_a_certificate_signs_the_request(entra: Entra, tmp_path: Path):
    """Of another tenant, also on behalf of a user; a certificate that the application does not have is told."""
    mine, other = tmp_path / "app.pem", tmp_path / "other.pem"
    entra.certificates["app"] = _certificate(entra.ca, mine)
    _certificate(entra.ca, other)
    given = credentials(tenant="partner", client_id="app", certificate=mine, authority=entra.authority)
    assert given.check() == "the service principal app of tenant partner"
    entra.users.add("users-token")
    credentials(
        tenant=_TENANT, client_id="app", certificate=mine, user_assertion="users-token", authority=entra.authority
    ).check()
    assert entra.asked == [("certificate", "app", "partner"), ("on_behalf_of by certificate", "app", _TENANT)]
    entra.certificates["app"] = _certificate(entra.ca, mine, "pass-of-the-file")
    locked = credentials(
        tenant="locked", client_id="app", certificate=mine, certificate_password="pass-of-the-file",
        authority=entra.authority,
    )  # fmt: skip
    locked.check()
    assert entra.asked[2:] == [("certificate", "app", "locked")]
    assert "pass-of-the-file" not in f"{locked!r} {locked.token_credential().identity!r}"
    with pytest.raises(CredentialError, match="the certificate is not known") as caught:
        credentials(tenant=_TENANT, client_id="app", certificate=other, authority=entra.authority).check()
    assert caught.value.next_step == "az ad app credential list --id app --cert"


def test_export_opens_the_account_in_a_subprocess(entra: Entra):
    """Microsoft's own library, in another process, gets a token by the exported variables alone."""
    given = credentials(tenant=_TENANT, client_id="app", client_secret=_SECRET, account="acc")
    program = (
        "import os\n"
        "from azure.identity import EnvironmentCredential\n"
        "c = EnvironmentCredential(disable_instance_discovery=True)\n"
        f"print(c.get_token({SCOPE!r}).token)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**given.export(), **entra.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "token-1-of-app", done.stderr
    assert given.export()["AZURE_STORAGE_AUTH_MODE"] == "service_principal"


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"tenant": "t", "client_id": "a", "user_assertion": "TOK", "account": "foo"}, ["client_secret"]),
        ({"user_assertion": "TOK", "client_secret": "s"}, ["tenant", "client_id"]),
        ({"mode": "service_principal", "tenant": "t"}, ["client_id"]),
        ({"federated_token_file": "/f", "tenant": "t"}, ["client_id"]),
    ],
)
def test_what_arguments_lack_is_told_by_their_names(given: dict[str, str], lacks: list[str]):
    """Nothing that was given is left aside, such as a user's token without the application's secret."""
    with pytest.raises(CredentialError) as caught:
        credentials(**given, environ={})
    assert caught.value.facts["missing"] == lacks
    assert "environment" not in str(caught.value)
    assert caught.value.next_step == f"azray_lab.credentials({', '.join(f'{name}=...' for name in lacks)}, ...)"
    assert "TOK" not in str(caught.value)


def test_a_key_given_in_a_program_wins_over_the_environment():
    """What was said replaces who opens, and keeps which account and container."""
    environ = {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_CLIENT_SECRET": "x", "AZURE_STORAGE_CONTAINER": "data"}
    given = credentials(account_key="a2V5", environ=environ)
    account = given.account()
    assert (account.mode, account.name, account.container) == ("account_key", "acc", "data")
    assert "AZURE_CLIENT_SECRET" not in given.export()
    with pytest.raises(UsageError, match="no identity"):
        given.token_credential()


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "password"}, {"mode": "service_principal", "tenant": "t"}, {"mode": "workload_identity"}],
)
def test_what_is_missing_or_unknown_is_told_at_once(wrong: dict[str, Any]):
    """Before any request: the modes, or the variable that is missing."""
    with pytest.raises(AzRayError) as caught:
        credentials(**wrong, environ={})
    assert "workload_identity" in caught.value.cause or caught.value.facts["missing"]
