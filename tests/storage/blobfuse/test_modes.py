"""How the real blobfuse2 opens an account: what it sends in each mode, to a fake Entra ID and a strict service.

Its library asks login.microsoftonline.com about any host that it does not know, so a proxy here answers in its place.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest

import azray_lab
from azray_lab.errors import CredentialError
from azray_lab.testing.blob_server import BlobServer, run_blob_server
from azray_lab.testing.entra import Entra, run_entra
from azray_lab.testing.gate import Gate, run_gate

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

DISCOVERY = "login.microsoftonline.com"
TENANT = "11111111-2222-3333-4444-555555555555"
PRINCIPAL = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": "app"}
SECRET = "hush-hush"


@pytest.fixture
def entra(tmp_path: Path, real: Path, fresh_home: Path) -> Iterator[Entra]:
    """A fake Entra ID, which the processes started here trust and find."""
    del real, fresh_home
    with run_entra(tmp_path) as server, _discovery(tmp_path, server) as proxy:
        server.secrets["app"] = SECRET
        os.environ |= server.environment()
        os.environ |= {"SSL_CERT_FILE": str(tmp_path / "trusted.pem"), "HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1"}
        yield server


@pytest.fixture
def server() -> Iterator[BlobServer]:
    """The service behind the gate, where the tests look whether a file has come."""
    with run_blob_server() as running:
        running.seed("data")
        yield running


@pytest.fixture
def gate(entra: Entra, server: BlobServer) -> Iterator[Gate]:
    """A Blob service, over TLS, that opens to tokens of the fake Entra ID only."""
    with run_gate(entra, server.endpoint) as running:
        os.environ["AZURE_STORAGE_ACCOUNT_URL"] = running.endpoint
        yield running


def _service_principal(entra: Entra, folder: Path) -> tuple[str, str, str]:
    del entra, folder
    os.environ |= {**PRINCIPAL, "AZURE_CLIENT_SECRET": SECRET}
    return "secret", "app", TENANT


def _workload_identity(entra: Entra, folder: Path) -> tuple[str, str, str]:
    (folder / "token").write_text("pod-token")
    entra.federated["app"] = "pod-token"
    os.environ |= {**PRINCIPAL, "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token")}
    return "federated", "app", TENANT


def _managed_identity(entra: Entra, folder: Path) -> tuple[str, str, str]:
    del folder
    entra.machines.add("user-assigned")
    os.environ |= {**entra.machine_environment(), "AZURE_CLIENT_ID": "user-assigned"}
    return "machine", "user-assigned", ""


def _cli(entra: Entra, folder: Path) -> tuple[str, str, str]:
    """An `az` on PATH that prints a token, as `az account get-access-token` does."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "az"
    said = entra.issue("az", "me", TENANT)
    answer = {"accessToken": said["access_token"], "expires_on": said["expires_on"], "tenant": TENANT}
    answer |= {"expiresOn": datetime.fromtimestamp(said["expires_on"]).isoformat(" "), "tokenType": "Bearer"}  # noqa: DTZ006
    lines = [
        f"#!{sys.executable}",
        "import sys",
        "assert 'get-access-token' in sys.argv",
        f"print({json.dumps(answer)!r})",
    ]
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    return "az", "me", TENANT


MODES = {
    "service_principal": _service_principal,
    "workload_identity": _workload_identity,
    "managed_identity": _managed_identity,
    "cli": _cli,
}


@pytest.mark.parametrize("mode", MODES)
def test_each_identity_s_token_opens_the_account(mode: str, entra: Entra, gate: Gate, server: BlobServer, real: Path):
    """Asked as that identity, the token comes with every request; what is written through the mount arrives."""
    expected = MODES[mode](entra, real)
    os.environ["AZURE_STORAGE_AUTH_MODE"] = mode
    with azray_lab.mount("az://data/runs", real / "m", profile="checkpoints") as folder:
        assert folder.to_dict()["mode"] == mode
        _check_secrets(folder, real)
        (folder.path / "weights").write_bytes(b"w" * 1000)
    assert set(entra.asked) == {expected}
    assert set(gate.seen) <= set(entra.ends)
    assert not gate.refused
    assert sum(gate.seen.values()) >= 2
    assert azray_lab.filesystem("az://", environ=server.environment()).size("data/runs/weights") == 1000


def _check_secrets(folder: azray_lab.Mount, place: Path) -> None:
    """Neither a command line nor a file of the mount has a secret."""
    secrets = [SECRET, "pod-token"]
    line = " ".join(psutil.Process(folder.health().pid).cmdline())
    home = Path(os.environ["AZRAY_HOME"])
    texts = [line, *(file.read_text(errors="replace") for file in home.rglob("*") if file.is_file())]
    assert texts[1:], place
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_a_wrong_secret_is_told_in_one_line(entra: Entra, gate: Gate, real: Path):
    """Entra ID's reason, what mends it, no secret, and nothing stays."""
    del gate
    entra.secrets["app"] = "another"
    os.environ |= {**PRINCIPAL, "AZURE_CLIENT_SECRET": SECRET, "AZURE_STORAGE_AUTH_MODE": "service_principal"}
    with pytest.raises(CredentialError, match="AADSTS7000215") as caught:
        azray_lab.mount("az://data", real / "m", profile="checkpoints")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not (real / "m").exists()


def test_an_identity_without_a_role_is_told_in_one_line(entra: Entra, gate: Gate, server: BlobServer, real: Path):
    """The token is good and the service says 403: refused, with the role that is wanted."""
    del gate
    _managed_identity(entra, real)
    os.environ["AZURE_STORAGE_AUTH_MODE"] = "managed_identity"
    server.faults({"status": 403, "code": "AuthorizationPermissionMismatch"})
    with pytest.raises(CredentialError, match="Storage Blob Data Contributor"):
        azray_lab.mount("az://data", real / "m", profile="checkpoints")
    assert not (real / "m").exists()


@pytest.mark.azurite
@pytest.mark.parametrize("place", ["environment", "uri"])
def test_a_signature_opens_the_container(place: str, azurite: Azurite, real: Path, fresh_home: Path):
    """Azurite checks it: written and read through the mount, from the environment and from a URI."""
    del fresh_home
    azurite.container("signed")
    sas, uri = _signature(azurite, "signed"), f"{azurite.blob_endpoint}/signed/runs"
    if place == "environment":
        os.environ |= {"AZURE_STORAGE_ACCOUNT_URL": azurite.blob_endpoint, "AZURE_STORAGE_SAS_TOKEN": sas}
        uri = "az://signed/runs"
    else:
        uri = f"{uri}?{sas}"
    with azray_lab.mount(uri, real / "m", profile="checkpoints") as folder:
        assert (folder.to_dict()["mode"], folder.to_dict()["signed"]) == ("sas", place == "uri")
        line = " ".join(psutil.Process(folder.health().pid).cmdline())
        files = [f.read_text(errors="replace") for f in Path(os.environ["AZRAY_HOME"]).rglob("*") if f.is_file()]
        assert not [text for text in [line, *files] if "sig=" in text]
        (folder.path / f"by-{place}").write_bytes(b"signed")
    files = azray_lab.filesystem("az://", environ=azurite.environment())
    assert files.cat_file(f"signed/runs/by-{place}") == b"signed"


@pytest.mark.azurite
def test_a_signature_that_is_over_is_refused_in_one_line(azurite: Azurite, real: Path, fresh_home: Path):
    """The error says so, and shows no signature."""
    del fresh_home
    azurite.container("signed")
    sas = _signature(azurite, "signed", timedelta(hours=-1))
    with pytest.raises(CredentialError, match="may not be accessed") as caught:
        azray_lab.mount(f"{azurite.blob_endpoint}/signed?{sas}", real / "m", profile="checkpoints")
    assert sas.partition("sig=")[2] not in str(caught.value)
    assert "\n" not in str(caught.value)


def _signature(azurite: Azurite, container: str, lasts: timedelta = timedelta(hours=1)) -> str:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    end = datetime.now(timezone.utc) + lasts
    allowed = ContainerSasPermissions(read=True, write=True, create=True, delete=True, list=True, add=True)
    return str(
        generate_container_sas(
            azurite.account, container, account_key=azurite.key, permission=allowed, expiry=end,
            start=end - timedelta(days=1),
        )
    )  # fmt: skip


# The proxy.


class _Discovery(http.server.BaseHTTPRequestHandler):
    """Answers CONNECT to the one host itself, over TLS, with where the fake Entra ID is."""

    protocol_version = "HTTP/1.1"
    context: ssl.SSLContext
    authority: str

    def do_CONNECT(self) -> None:
        """A tunnel, which ends here."""
        if self.path != f"{DISCOVERY}:443":
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        inner = self.context.wrap_socket(self.connection, server_side=True)
        with inner, inner.makefile("rb") as self.rfile, inner.makefile("wb") as self.wfile:
            self.handle_one_request()
        self.close_connection = True

    def do_GET(self) -> None:
        """What the library asks of the host: where the tenant's own description is."""
        host = urlsplit(self.authority).netloc
        body = json.dumps(
            {
                "tenant_discovery_endpoint": f"{self.authority}/{TENANT}/v2.0/.well-known/openid-configuration",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def _discovery(folder: Path, entra: Entra) -> Iterator[str]:
    """The proxy's address; `trusted.pem` in `folder` has its certificate beside Entra's authority."""
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "discovery.pem")
    (folder / "trusted.pem").write_bytes(entra.ca.read_bytes() + certificate)
    handler = type("Handler", (_Discovery,), {"context": context, "authority": entra.authority})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()


def _certificate(folder: Path) -> bytes:
    """A certificate for the host that is its own authority, beside its key in `discovery.pem`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DISCOVERY)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DISCOVERY)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "discovery.pem").write_bytes(private + made.public_bytes(pem))
    return made.public_bytes(pem)
