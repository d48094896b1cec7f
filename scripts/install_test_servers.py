"""Installs the servers that tests need and pip does not give: Azurite, and Chromium where root's apt-get may.

Exit status: 0 all there, 3 something is missing (its tests will be skipped), 1 a part that AZRAY_REQUIRE names is
missing. `NO_APT=1` forbids apt-get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = 3


def run(*command: str) -> str:
    """Runs `command`; returns an empty string, or the last lines of what it said when it failed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "" if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-5:]) or f"exit status {done.returncode}"


def azurite() -> str:
    """Azurite through npm into .venv; the fixtures' own module knows the version and the place."""
    return run(sys.executable, "-m", "azray_lab.testing.azurite", "install")


def browser() -> str:
    """The system's Chromium; through apt-get when it is missing, this is root, and nobody forbids it."""
    if any(map(shutil.which, BROWSERS)):
        return ""
    if os.geteuid() or not shutil.which("apt-get") or os.environ.get("NO_APT"):
        return "no Chromium on PATH. Next: sudo apt-get install chromium"
    print("installing chromium by apt-get", flush=True)
    apt = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")
    return (
        run(*apt, "update")
        or run(*apt, "install", "-y", "--no-install-recommends", "chromium")
        or run("chromium", "--version")
    )


def main() -> int:
    """Installs each part and says what is missing and why."""
    required = os.environ.get("AZRAY_REQUIRE", "").replace(" ", "").split(",")
    status = 0
    for name, install in {"azurite": azurite, "browser": browser}.items():
        if reason := install():
            print(f"{name} is missing: {reason}", file=sys.stderr)
            status = 1 if status == 1 or name in required else MISSING
    return status


if __name__ == "__main__":
    sys.exit(main())
