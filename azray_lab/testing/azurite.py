"""Azurite, the Blob service emulator, as a real server for tests, demos and tutorials: find it, install it, run it.

    with run_azurite() as azurite:
        os.environ.update(azurite.environment())

    python -m azray_lab.testing.azurite install     # into this environment, once
    python -m azray_lab.testing.azurite run         # one in the foreground; prints its connection string

As a pytest fixture `azurite`: `pytest_plugins = ["azray_lab.testing.azurite"]` in a conftest.py (or
"azray_lab.testing", which gives all fixtures). pytest itself is imported only when somebody asks for the fixture.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StartError, UnsupportedError
from azray_lab.testing.node import installed_main, node

if TYPE_CHECKING:
    from collections.abc import Iterator

# The emulator's public account, the same on every machine: documented in Azurite's README, "Default Storage Account".
ACCOUNT = "devstoreaccount1"
OTHER = "devstoreaccount2"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_START_SECONDS = 60.0
_STOP_SECONDS = 2.0
_LISTENS = re.compile(r"successfully listens on (http://[0-9.]+:[0-9]+)")

# Loaded by Node before Azurite. It reads stdin, whose other end the starting process holds: when that process dies,
# however it dies, stdin ends, the data is removed and the server is killed. A thread, because Azurite has been seen
# to stall with its own thread busy for ever; stdin, because PR_SET_PDEATHSIG follows the starting thread, not process.
_GUARD = """
const { Worker, isMainThread } = require('worker_threads');
if (isMainThread && process.env.AZRAY_AZURITE_DATA) {
  new Worker(`
    const stdin = new (require('net').Socket)({ fd: 0, readable: true, writable: false });
    stdin.on('error', () => {}).resume().on('close', () => {
      try { require('fs').rmSync(process.env.AZRAY_AZURITE_DATA, { recursive: true, force: true, maxRetries: 3 }); }
      finally { process.kill(process.pid, 'SIGKILL'); }
    });
  `, { eval: true }).unref();
}
"""

# The name under which pytest finds the fixture here; tests ask for it as `azurite`.
_FIXTURE = "azurite_fixture"


@dataclass(frozen=True)
class Azurite:
    """A running Azurite. `blob_endpoint` holds the account: `http://127.0.0.1:PORT/devstoreaccount1`."""

    blob_endpoint: str
    pid: int
    account: str = ACCOUNT
    key: str = field(default=KEY, repr=False)

    @property
    def connection_string(self) -> str:
        """What Azure's SDKs, adlfs and obstore take."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.blob_endpoint};"
        )

    def other(self) -> Azurite:
        """The same server's second account, for copies between two."""
        return replace(self, blob_endpoint=self.blob_endpoint.removesuffix(self.account) + OTHER, account=OTHER)

    def environment(self) -> dict[str, str]:
        """The variables that point a process at this server."""
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string}

    def container(self, name: str) -> str:
        """Makes the container `name` unless it is there, and returns its URI `az://name`."""
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import BlobServiceClient

        with (
            BlobServiceClient.from_connection_string(self.connection_string) as service,
            contextlib.suppress(ResourceExistsError),
        ):
            service.create_container(name)
        return f"az://{name}"


@contextlib.contextmanager
def run_azurite(port: int = 0) -> Iterator[Azurite]:
    """Runs Azurite on 127.0.0.1 (`port` 0: a free one) until the block ends; about 1 s to start.

    The data lies in a temporary folder that is removed with it. Dies with this process too, also after kill -9.
    Raises UnsupportedError where Azurite is not installed, StartError with the end of its log when it does not start.
    """
    command = find_azurite()
    folder = Path(tempfile.mkdtemp(prefix="azray-azurite-"))
    process = None
    try:
        process = _spawn(command, folder, port)
        yield Azurite(f"{_address(process, folder)}/{ACCOUNT}", process.pid)
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def find_azurite() -> list[str]:
    """The command that starts Azurite's Blob service.

    Looked for in the environment variable AZRAY_AZURITE (its `main.js` or an executable), in this Python environment
    (where `install` puts it), and as `azurite-blob` on PATH. Raises UnsupportedError when it is in none of them.
    """
    given = os.environ.get("AZRAY_AZURITE")
    if given and not Path(given).is_file():
        raise UnsupportedError("AZRAY_AZURITE names no file", cause=given, next_step="unset AZRAY_AZURITE")
    main = Path(given) if given else installed_main()
    if main is None:
        on_path = shutil.which("azurite-blob")
        main = Path(on_path) if on_path else None
    if main is None:
        raise UnsupportedError(
            "Azurite is not installed here",
            cause="neither AZRAY_AZURITE, nor this Python environment, nor PATH has it",
            next_step="python -m azray_lab.testing.azurite install",
        )
    return [str(node()), str(main)] if main.suffix == ".js" else [str(main)]


def _spawn(command: list[str], folder: Path, port: int) -> subprocess.Popen[bytes]:
    guard, data = folder / "guard.cjs", folder / "data"
    guard.write_text(_GUARD)
    data.mkdir()
    arguments = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(data), "--silent"]
    # The SDK sends newer API versions than this Azurite knows; it answers them all the same.
    arguments += ["--skipApiVersionCheck", "--disableTelemetry"]
    own = {"NODE_OPTIONS": f'--require "{guard}"', "AZRAY_AZURITE_DATA": str(folder)}
    own["AZURITE_ACCOUNTS"] = f"{ACCOUNT}:{KEY};{OTHER}:{KEY}"
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | own,
            start_new_session=True,  # Ctrl-C in the terminal reaches us; we end the server
        )


def _address(process: subprocess.Popen[bytes], folder: Path) -> str:
    """The server's `http://host:port` once it answers requests."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        text = (folder / "log").read_text(errors="replace")
        if process.poll() is not None:
            raise _failed(f"it ended with code {process.returncode}", text)
        if (found := _LISTENS.search(text)) and _answers(found[1]):
            return found[1]
        time.sleep(0.02)
    raise _failed(f"it did not answer within {_START_SECONDS:g} s", (folder / "log").read_text(errors="replace"))


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - loopback
    except urllib.error.HTTPError:
        return True  # any status is an answer
    except OSError:
        return False
    return True


def _failed(reason: str, log: str) -> StartError:
    tail = " | ".join(log.strip().splitlines()[-8:]) or "its log is empty"
    return StartError("Azurite did not start", cause=f"{reason}: {tail}", log=log[-4000:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server: by its guard, which needs some milliseconds; else SIGTERM, then SIGKILL to its whole group.

    SIGTERM alone takes seconds, as Azurite waits for its clients' connections; its data is not worth that.
    """
    if process.stdin is not None:
        process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def __getattr__(name: str) -> Any:
    if name == _FIXTURE:
        from azray_lab.testing import fixtures

        return fixtures.azurite_fixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # pytest looks for fixtures among the names that dir() gives.
    return sorted({*globals(), _FIXTURE})


if __name__ == "__main__":
    from azray_lab.testing.node import main

    sys.exit(main(sys.argv[1:]))
