"""A fast Blob service in memory as a real server for tests and figures: `with run_blob_server() as server:`.

For what Azurite cannot show: faults (`server.faults(...)`), latency, TLS, and clients that are slower than the server.
It checks no signature. See `blob_service`, the program that it runs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StartError
from azray_lab.testing.azurite import ACCOUNT, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class BlobServer:
    """A running server. `certificate` is the PEM file of its own authority; empty without TLS."""

    endpoint: str
    pid: int
    certificate: str = ""

    @property
    def connection_string(self) -> str:
        """What Azure's SDKs, adlfs and obstore take."""
        scheme = self.endpoint.partition(":")[0]
        return f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.endpoint};"

    def environment(self) -> dict[str, str]:
        """The variables that point a process at this server."""
        trust = {"SSL_CERT_FILE": self.certificate} if self.certificate else {}
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string, **trust}

    def seed(self, container: str, name: str = "", count: int = 0, data: bytes = b"", repeat: int = 1) -> str:
        """Makes the container and `count` blobs called `name.format(number)`; returns the container's URI."""
        text = base64.b64encode(data).decode()
        self._steer("seed", {"container": container, "name": name, "count": count, "data": text, "repeat": repeat})
        return f"az://{container}"

    def faults(self, *rules: dict[str, Any]) -> None:
        """What goes wrong from now on, in the words of `blob_service.Rule`; nothing, when none is given."""
        self._steer("faults", list(rules))

    def counts(self) -> dict[str, int]:
        """How many requests there were since the last `faults`, by method and kind: `GET`, `PUT block`, `GET list`."""
        found: dict[str, int] = json.loads(self._steer("counts", None))
        return found

    def _steer(self, what: str, body: Any) -> bytes:
        url = f"{self.endpoint.rpartition('/')[0]}/-/{what}"
        data = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        request = urllib.request.Request(url, data, method="GET" if body is None else "PUT")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:  # noqa: S310 - loopback
            return bytes(answer.read())


@contextlib.contextmanager
def run_blob_server(
    *, latency: float = 0.0, rate: float = 0.0, intake: float = 0.0, tls: bool = False
) -> Iterator[BlobServer]:
    """Runs one on a free port of 127.0.0.1 until the block ends; it dies with this process, however that dies.

    `latency` is added to every answer (seconds); `rate` limits the body of an answer, `intake` that of a request, on
    each connection (bytes a second; 0: nothing does). Its certificate is its own authority.
    """
    with tempfile.TemporaryDirectory(prefix="azray-blob-") as folder:
        certificate = make_certificate(Path(folder)) if tls else ""
        key = f"{certificate}.key" if tls else ""
        command = [sys.executable, "-m", "azray_lab.testing.blob_service", *map(str, (latency, rate, intake)), key]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                port = (process.stdout.readline() if process.stdout else "").strip()
                if not port:
                    raise StartError("the Blob server did not start", cause="it ended at once")
                scheme = "https" if tls else "http"
                yield BlobServer(f"{scheme}://127.0.0.1:{port}/{ACCOUNT}", process.pid, certificate)
            finally:
                _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
        return
    process.kill()


def make_certificate(folder: Path) -> str:
    """An authority in `folder`, good for a day, as a PEM file; the server that it certifies is in the file `….key`."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    own, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    # rustls refuses an authority that is a server as well, so it takes two.
    authority = _certify("azray-lab test authority", own, own, x509.BasicConstraints(ca=True, path_length=0))
    server = _certify("azray-lab test server", key, own, x509.SubjectAlternativeName(names))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "authority.pem"
    path.write_bytes(authority)
    Path(f"{path}.key").write_bytes(private + server)
    return str(path)


def _certify(subject: str, key: Any, authority: Any, extension: Any) -> bytes:
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    now = datetime.now(timezone.utc)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azray-lab test authority")])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(authority, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)
