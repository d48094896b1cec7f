"""A real JupyterLab in a real browser, for tests and screenshots: server, Chromium, and a notebook as a person sees it.

    with run_jupyterlab(folder, state) as lab, open_browser(lab) as browser:
        browser.theme("JupyterLab Dark")
        notebook = browser.open("tutorial.ipynb")
        notebook.run(0)

The same server shows a notebook in Notebook 7: `browser.open("tutorial.ipynb", "notebook")`. Needs JupyterLab,
Playwright's Python package and the system's Chromium; no browser is downloaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.errors import StartError, UnsupportedError

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# No GPU, no WebGL in its place (Lab's terminal draws itself at a wrong scale with it), no QUIC, and nothing that a
# browser fetches by itself: tests talk to this machine only.
FLAGS = (
    "--disable-gpu",
    "--disable-3d-apis",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
# Busy machines take their time to load Lab's 10 MB of JavaScript.
_PAGE_MILLISECONDS = 120_000
# Lab asks at its first start whether it may fetch news; that dialog would lie over the notebook.
_NEWS = "@jupyterlab/apputils-extension:notification"
_QUIET = {"fetchNews": "false", "checkForUpdates": False}
_KERNELS = "@jupyterlab/apputils-extension:kernels-settings"

App = Literal["lab", "notebook"]
"""JupyterLab, or Notebook 7."""
_PAGES: dict[App, str] = {"lab": "lab/tree", "notebook": "notebooks"}

THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast")
"""The themes that come with JupyterLab 4.6 and Notebook 7.6."""

Subshells = Literal["disabled", "perComm", "perCommTarget"]
"""Lab's setting for the messages of widgets: in the kernel's main thread, or in one of their own."""

_READY = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext, kernel = context?.session?.kernel;
    return context?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""


@dataclass(frozen=True)
class JupyterLab:
    """A running JupyterLab: its address, the folder that it shows, where it keeps settings, and its token."""

    url: str
    folder: Path
    state: Path
    token: str = field(repr=False)

    def address(self, path: str = "", app: App = "lab") -> str:
        """Where a browser opens the notebook `path`; holds the token."""
        return f"{self.url}/{_PAGES[app]}/{path}?token={self.token}" + "&reset" * (app == "lab")

    def configure(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Sets settings of a plugin of Lab's (`package:plugin`); pages that are opened from now on have them."""
        package, _, name = plugin.partition(":")
        file = self.state / "settings" / package / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def subshells(self, mode: Subshells) -> None:
        """Sets in which thread the callbacks of widgets run, for pages that are opened from now on."""
        self.configure(_KERNELS, {"commsOverSubshells": mode})

    def end_kernels(self) -> None:
        """Ends the kernels of all notebooks; pages that show them stay as they are."""
        for session in json.loads(self._ask("GET", "api/sessions")):
            self._ask("DELETE", f"api/sessions/{session['id']}")

    def _ask(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)  # noqa: S310 - loopback
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - loopback
            return bytes(answer.read())

    def ready(self) -> bool:
        """Whether the server answers."""
        try:
            self._ask("GET", "api/status")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def write(self, path: str, cells: Sequence[str]) -> str:
        """Writes a notebook of code cells into the folder; returns its path."""
        (self.folder / path).write_text(json.dumps(notebook_of(cells)))
        return path


def notebook_of(cells: Sequence[str]) -> dict[str, Any]:
    """A notebook document (nbformat 4.5) of code cells, not run yet."""
    fixed: dict[str, Any] = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    listed = [{**fixed, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
    return {"cells": listed, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


@contextlib.contextmanager
def run_jupyterlab(folder: Path, state: Path) -> Iterator[JupyterLab]:
    """Runs JupyterLab on `folder` until the block ends, on a free port of 127.0.0.1; about 3 s.

    Its settings and workspaces lie in `state`. Raises StartError with the end of its log when it does not start.
    """
    lab = JupyterLab(f"http://127.0.0.1:{_free_port()}", folder, state, secrets.token_hex(16))
    lab.configure(_NEWS, _QUIET)
    log = state / "jupyterlab.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(lab), env=_environment(lab), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(lab, process, log)
        yield lab
    finally:
        _stop(process)


def _command(lab: JupyterLab) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": lab.url.rpartition(":")[2],
        "ServerApp.port_retries": "0",
        "ServerApp.root_dir": str(lab.folder),
        "ServerApp.open_browser": "False",
        "ServerApp.allow_root": "True",
    }
    # The same server serves Notebook 7 where that is installed.
    for app in ("LabApp", "JupyterNotebookApp"):
        options[f"{app}.expose_app_in_browser"] = "True"
        options[f"{app}.user_settings_dir"] = str(lab.state / "settings")
        options[f"{app}.workspaces_dir"] = str(lab.state / "workspaces")
    return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]


def _environment(lab: JupyterLab) -> dict[str, str]:
    # In the environment, because everybody can read a command line.
    return {**os.environ, "JUPYTER_TOKEN": lab.token}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(lab: JupyterLab, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not lab.ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-6:])
            raise StartError("JupyterLab did not start", cause=tail or "its log is empty")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, upon which the server ends its kernels; SIGKILL for the server's session when it does not."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# The browser.


def find_chromium() -> str:
    """The path of the system's Chromium; UnsupportedError where there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise UnsupportedError("Chromium is not installed here", next_step="apt-get install chromium")


@contextlib.contextmanager
def open_browser(lab: JupyterLab, **options: Any) -> Iterator[Browser]:
    """Chromium, without a window, until the block ends; `options` are those of Playwright's `new_context`."""
    from playwright.sync_api import sync_playwright

    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=flags)
        try:
            context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            context.set_default_timeout(_PAGE_MILLISECONDS)
            yield Browser(lab, context.new_page())
        finally:
            chromium.close()


@dataclass(frozen=True)
class Browser:
    """A page of Chromium that shows JupyterLab."""

    lab: JupyterLab
    page: Page

    def beside(self) -> Browser:
        """Another page of the same browser, for what two pages show at once; `page.close()` ends it."""
        return Browser(self.lab, self.page.context.new_page())

    def open(self, path: str, app: App = "lab") -> Notebook:
        """Opens the notebook `path` and waits until its kernel can be used."""
        self.page.goto(self.lab.address(path, app))
        notebook = Notebook(self.page)
        notebook.cell(0).wait_for()
        # Lab forgets what was run before the kernel is connected, and nothing on the page tells when that is.
        self.page.wait_for_function(_READY)
        return notebook

    def theme(self, name: str) -> None:
        """Changes the theme of the open page to one of THEMES, and waits until it is drawn."""
        change = "name => void window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
        self.page.evaluate(change, name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def walk(self, target: Locator, key: str = "Tab", most: int = 80) -> int:
        """Presses `key` until the keyboard is in `target`; how often. LookupError after `most` times."""
        for count in range(1, most + 1):
            self.page.keyboard.press(key)
            if target.evaluate("element => element === document.activeElement"):
                return count
        raise LookupError(f"{key} does not lead to {target}: the keyboard is in {self.focused()}")

    def focused(self) -> str:
        """The element that has the keyboard, as its first 200 characters of HTML."""
        return str(self.page.evaluate("() => document.activeElement.outerHTML"))[:200]

    def violations(self, *within: str) -> list[str]:
        """What axe finds wrong inside the elements of these selectors; a line for each rule and element."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page, context={"include": [[selector] for selector in within]})
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:160]}: {node['failureSummary']}"
            for rule in found.response["violations"]
            for node in rule["nodes"]
        ]


@dataclass(frozen=True)
class Notebook:
    """The notebook that is open in a page; cells are counted from 0."""

    page: Page

    def cell(self, number: int) -> Locator:
        """The cell."""
        return self.page.locator(f".jp-Notebook-cell[data-windowed-list-index='{number}']")

    def output(self, number: int) -> Locator:
        """The cell's outputs, each an element of its own."""
        return self.cell(number).locator(".jp-OutputArea-output")

    def text(self, number: int) -> str:
        """What the cell's outputs say, as a person reads them."""
        return "\n".join(self.output(number).all_inner_texts()).strip()

    def prompt(self, number: int) -> str:
        """What stands before the cell: `[ ]:`, `[*]:` while it runs, `[1]:` afterwards."""
        return self.cell(number).locator(".jp-InputPrompt").inner_text().strip()

    def edit(self, number: int) -> Locator:
        """Puts the cursor at the end of the cell and returns its editor."""
        editor = self.cell(number).locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+End")
        return editor

    def run(self, number: int) -> None:
        """Runs the cell, as Ctrl+Enter does; does not wait for its end."""
        self.edit(number)
        self.page.keyboard.press("Control+Enter")

    def finish(self, number: int, seconds: float) -> None:
        """Waits until the cell has been executed."""
        script = """cell => /^\\[\\d+\\]:/.test(document.querySelector(`${cell} .jp-InputPrompt`)?.innerText.trim())"""
        cell = f".jp-Notebook-cell[data-windowed-list-index='{number}']"
        self.page.wait_for_function(script, arg=cell, timeout=1000 * seconds)
