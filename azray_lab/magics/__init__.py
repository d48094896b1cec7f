"""The notebook's face: `%azray` and `%%azray`, with completion. Loading it imports nothing but IPython and this."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING

from azray_lab.magics.magic import azray
from azray_lab.magics.matcher import azray_matcher

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Registers `%azray`, `%%azray` and their completion."""
    shell.magics_manager.register_function(azray, "line_cell", "azray")
    if azray_matcher not in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.append(azray_matcher)
    # The first TAB or verb would wait for click's import (some 50 ms); the cell that loads the extension need not.
    threading.Thread(target=_warm, name="azray-warm").start()


def _warm() -> None:
    importlib.import_module("click.shell_completion")
    for module in importlib.import_module("azray_lab.verbs.tree").VERBS.values():
        importlib.import_module(module)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Removes what `load_ipython_extension` registered."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("azray", None)
    if azray_matcher in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(azray_matcher)
