"""A fake Entra ID and instance metadata service on loopback, for tests of credentials over the wire.

    with run_entra(tmp_path) as entra:
        entra.secrets["app"] = "s3cret"
        environ |= entra.environment()          # AZURE_AUTHORITY_HOST, and the CA for azure-identity
        environ |= entra.machine_environment()  # a managed identity; no request leaves the machine

It answers the token requests of service principals (secret, certificate, on behalf of a user), of workload identities
and of managed identities as the services do, counts them, and refuses as they do. Its tokens are words, not JWTs.
`azray_lab.testing.gate` lets requests with its tokens through to a Blob service.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import ipaddress
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEADER = "machine-header"
_HELD_SECONDS = 60.0
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_WRONG_SECRET = "AADSTS7000215: Invalid client secret provided."  # noqa: S105 - Entra ID's words
_NO_MATCH = "AADSTS700213: No matching federated identity record found for presented assertion subject 'x'."
_NO_CERTIFICATE = "AADSTS700027: The certificate with identifier used to sign the client assertion is not registered."
_OLD_ASSERTION = "AADSTS500133: Assertion is not within its valid time range."


@dataclass
class Entra:
    """What the servers know, and what they were asked: `asked` has (kind, client, tenant) of each token request.

    `secrets`, `federated` (the token of the pod) and `certificates` (the public key, as cryptography has it) are by
    client; `users` are the tokens of users on whose behalf may be asked. `lifetime` is that of new tokens in seconds of
    `clock`; `refusal` is an AADSTS text with which every request is refused. Each token request takes one of `holds`,
    if there is one, and waits for it; `attempts` counts all of them, `asked` those that were granted.
    """

    authority: str
    machine: str
    ca: Path
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    federated: dict[str, str] = field(default_factory=dict, repr=False)
    certificates: dict[str, Any] = field(default_factory=dict)
    users: set[str] = field(default_factory=set, repr=False)
    machines: set[str] = field(default_factory=lambda: {""})
    lifetime: int = 3600
    clock: Callable[[], float] = time.time
    refusal: str = ""
    holds: list[threading.Event] = field(default_factory=list)
    attempts: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    ends: dict[str, float] = field(default_factory=dict)
    server_context: Any = None

    def environment(self) -> dict[str, str]:
        """The variables by which azure-identity asks this server, and trusts it."""
        return {"AZURE_AUTHORITY_HOST": self.authority, "REQUESTS_CA_BUNDLE": str(self.ca)}

    def machine_environment(self) -> dict[str, str]:
        """The variables by which this machine has a managed identity, in the way of Azure's App Service."""
        return {"IDENTITY_ENDPOINT": f"{self.machine}/app-service", "IDENTITY_HEADER": HEADER}

    def imds_environment(self) -> dict[str, str]:
        """The variable by which this machine has the instance metadata service of a virtual machine."""
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.machine}

    def issue(self, kind: str, client: str, tenant: str) -> dict[str, Any]:
        """A new token, and its record."""
        self.asked.append((kind, client, tenant))
        word = f"token-{len(self.asked)}-of-{client or 'machine'}"
        ends = self.ends[word] = int(self.clock()) + self.lifetime
        # Libraries count from their own clock, which is the machine's.
        left = ends - int(time.time())
        return {"access_token": word, "expires_in": left, "expires_on": ends, "token_type": "Bearer"}

    def judge(self, token: str) -> str:
        """What is wrong with a token now, in a word; empty when nothing is."""
        if token not in self.ends:
            return "unknown"
        if token in self.revoked:
            return "revoked"
        return "expired" if self.clock() >= self.ends[token] else ""

    def attend(self) -> None:
        """Counts a request, and holds it back where a test wants that."""
        self.attempts += 1
        if self.holds:
            self.holds.pop(0).wait(_HELD_SECONDS)

    def token(self, tenant: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What the token endpoint answers to a form."""
        client = form.get("client_id", "")
        proof = form.get("client_assertion", "")
        if self.refusal:
            return _refused(self.refusal)
        if secret := form.get("client_secret"):
            kind, problem = "secret", "" if self.secrets.get(client) == secret else _WRONG_SECRET
        elif client in self.federated:
            kind, problem = "federated", "" if self.federated[client] == proof else _NO_MATCH
        else:
            known = client in self.certificates and _signed(proof, self.certificates[client])
            kind, problem = "certificate", "" if known else _NO_CERTIFICATE
        if form.get("grant_type") == _GRANT:
            kind = "on_behalf_of" if kind == "secret" else f"on_behalf_of by {kind}"
            problem = problem or ("" if form.get("assertion") in self.users else _OLD_ASSERTION)
        return _refused(problem) if problem else (200, self.issue(kind, client, tenant))

    def identity(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What the endpoints of managed identities answer."""
        client = query.get("client_id", "")
        if client not in self.machines:
            return 400, {"error": "invalid_request", "error_description": "Identity not found"}
        return 200, self.issue("machine", client, "") | {"resource": query.get("resource", "")}


def _signed(proof: str, key: Any) -> bool:
    """Whether a JWT is signed by the certificate whose public key is `key` (RS256 or PS256, RFC 7518)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    head, _, rest = proof.partition(".")
    body, _, signature = rest.partition(".")
    digest = hashes.SHA256()
    ways = {"RS256": padding.PKCS1v15(), "PS256": padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)}
    try:
        way = ways[json.loads(_decoded(head))["alg"]]
        key.verify(_decoded(signature), f"{head}.{body}".encode(), way, digest)
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _refused(text: str) -> tuple[int, dict[str, Any]]:
    error = "invalid_grant" if "expired" in text else "invalid_client"
    return 401, {"error": error, "error_description": f"{text} Trace ID: 1 Correlation ID: 2"}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    entra: Entra

    def do_POST(self) -> None:
        """A token request of an application."""
        form = _flat(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        self.entra.attend()
        self._answer(*self.entra.token(self.path.split("/")[1], form))

    def do_GET(self) -> None:
        """A token request of a machine, or what azure-identity wants to know of a tenant."""
        path, query = urlsplit(self.path).path, _flat(urlsplit(self.path).query)
        if path.endswith("/.well-known/openid-configuration"):
            base = f"{self.entra.authority}/{path.split('/')[1]}"
            known = {"token_endpoint": f"{base}/oauth2/v2.0/token", "issuer": f"{base}/v2.0"}
            self._answer(200, known | {"authorization_endpoint": f"{base}/oauth2/v2.0/authorize"})
        elif path == "/app-service" and self.headers.get("X-IDENTITY-HEADER") != HEADER:
            self._answer(403, {"error": "forbidden"})
        elif path == "/app-service" or self.headers.get("Metadata") == "true":
            self.entra.attend()
            self._answer(*self.entra.identity(query))
        else:
            # The probe of the metadata service comes without its header and is refused as there.
            self._answer(400, {"error": "invalid_request", "error_description": "Required metadata header missing"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: requests are counted."""


def _flat(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@contextlib.contextmanager
def run_entra(folder: Path) -> Iterator[Entra]:
    """Runs both servers on free ports of 127.0.0.1 until the block ends; their certificates are made in `folder`."""
    entra = Entra("", "", folder / "ca.pem")
    handler = type("Handler", (_Handler,), {"entra": entra})
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as login,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as machine,
    ):
        entra.server_context = tls(folder)
        login.socket = entra.server_context.wrap_socket(login.socket, server_side=True)
        entra.authority = f"https://127.0.0.1:{login.server_address[1]}"
        entra.machine = f"http://127.0.0.1:{machine.server_address[1]}"
        threads = [threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True) for s in (login, machine)]
        for thread in threads:
            thread.start()
        try:
            yield entra
        finally:
            for server, thread in zip((login, machine), threads, strict=True):
                server.shutdown()
                thread.join()


def tls(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate for 127.0.0.1 of a new authority, whose own is written to `ca.pem`."""
    from cryptography.hazmat.primitives import serialization

    ca_key, ca = _certificate("azray test CA", None)
    key, leaf = _certificate("127.0.0.1", (ca_key, ca))
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(secret + leaf.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def _certificate(name: str, issuer: tuple[Any, Any] | None) -> tuple[Any, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    ca_key, ca_name = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if issuer is None:  # Python 3.13 looks for it
        uses = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), False
        )
        uses |= dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False)
        built = built.add_extension(x509.KeyUsage(**uses, key_cert_sign=True, crl_sign=True), critical=True)
    else:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        built = built.add_extension(names, critical=False)
    return key, built.sign(ca_key, hashes.SHA256())
