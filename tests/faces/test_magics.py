"""The notebook's face in a real IPython shell: the magic, its errors, its completion, and what loading it costs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from azray_lab.errors import StartError, UsageError
from azray_lab.magics import load_ipython_extension, unload_ipython_extension

PROGRAMS = Path(__file__).parent / "programs"
HEAVY = ("ray", "pydantic", "azure", "kubernetes", "ipywidgets", "obstore", "fsspec")


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """A real IPython shell with the extension and the verb `count` of the tests."""
    sys.path.insert(0, str(PROGRAMS))
    __import__("count_verb")
    # Its history would be a file in a home that is gone when Python ends.
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    load_ipython_extension(shell)
    yield shell
    unload_ipython_extension(shell)
    InteractiveShell.clear_instance()
    sys.path.remove(str(PROGRAMS))


@pytest.fixture
def offered(shell) -> Callable[[str], list[str]]:
    """What TAB offers at the end of a text."""

    def complete(text: str) -> list[str]:
        with provisionalcompleter(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [item.text for item in shell.Completer.completions(text, len(text))]

    return complete


def test_value_is_the_cell_s_value(shell, folder):
    """The magic returns the verb's value, to a variable as well; nothing is printed on stdout."""
    (folder / "go").touch()
    ran = shell.run_cell(f"c = %azray count {folder}")
    assert ran.success
    assert shell.user_ns["c"].to_dict() == {"count": 2}
    assert shell.run_cell(f"%azray count {folder} --json").result == {"count": 2}


def test_variables_and_expressions_are_filled_in(shell, folder):
    """`$name` and `{expression}` are those of the notebook."""
    (folder / "go").touch()
    shell.user_ns["where"] = str(folder)
    assert shell.run_cell("%azray count $where").success
    assert shell.run_cell("%azray count {where + '/'}").success


@pytest.mark.parametrize("line", ["dwon", "up --wrokers 2", "completion bsh", "'open"])
def test_wrong_use_is_a_usage_error(shell, line):
    """A typo fails the cell with our UsageError, which is drawn as one line."""
    assert isinstance(shell.run_cell(f"%azray {line}").error_in_exec, UsageError)


def test_our_error_keeps_its_type_and_is_one_line(shell, folder):
    """A failed operation fails the cell with its own type; IPython draws it as one line."""
    (folder / "go").touch()
    error = shell.run_cell(f"%azray count {folder} --fail").error_in_exec
    assert isinstance(error, StartError)
    assert vars(error)["_render_traceback_"]() == [
        "StartError: it did not start: it was told to fail. Next: azray count"
    ]


def test_bug_keeps_its_traceback(shell, folder):
    """What is no error of ours passes as it is."""
    error = shell.run_cell(f"%azray count {folder} --bug").error_in_exec
    assert isinstance(error, ZeroDivisionError)
    assert not hasattr(error, "_render_traceback_")


def test_cell_is_its_own_yes(shell, folder):
    """Nobody is asked in a notebook: what the cell says is what is wanted."""
    (folder / "go").touch()
    assert shell.run_cell(f"%azray count {folder} --ask").success


@pytest.mark.parametrize("line", ["-h", "help"])
def test_help_lists_the_verbs(shell, capsys, line):
    """`%azray -h` and `%azray help` list the verbs; `%azray?` shows the docstring."""
    assert shell.run_cell(f"%azray {line}").success
    assert "  down  " in capsys.readouterr().out
    assert "%azray up --workers 2" in shell.object_inspect_text("%azray")


def test_help_of_a_verb(shell, capsys):
    """`%azray help VERB` is `%azray VERB -h`."""
    assert shell.run_cell("%azray help completion").success
    assert "Usage: %azray completion" in capsys.readouterr().out


def test_pending_becomes_its_result(shell, folder):
    """`--no-wait` returns at once; once done, the handle has the result's attributes."""
    pending = shell.run_cell(f"%azray count {folder} --no-wait").result
    assert not pending.done
    assert "running" in repr(pending)
    with pytest.raises(AttributeError, match=r"result\(\) waits"):
        _ = pending.data
    (folder / "go").touch()
    assert pending.result(30).data == {"count": 2}
    assert pending.data == {"count": 2}
    assert repr(pending).startswith("<count: done")


def test_pending_can_be_cancelled(shell, folder):
    """`cancel` ends the work and waits for its clean-up."""
    pending = shell.run_cell(f"%azray count {folder} --no-wait").result
    assert pending.cancel(30)
    assert "cancelled" in repr(pending)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%azray st", ["status"]),
        ("%%azray st", ["status"]),
        ("c = %azray st", ["status"]),
        ("%azray up --wo", ["--workers"]),
        ("x, y = %azray up --target d", ["dsvm"]),
        ("%azray up --target=d", ["dsvm"]),
        ("%azray completion ", ["bash", "fish", "zsh"]),
    ],
)
def test_tab_offers_verbs_flags_and_choices(offered, text, expected):
    """TAB offers what the verb tree knows, and nothing of Python's."""
    assert offered(text) == expected


def test_tab_offers_files(offered, tmp_path):
    """An option that takes a file is completed from the folder."""
    (tmp_path / "azray.yaml").touch()
    os.chdir(tmp_path)
    assert offered("%azray up -f az") == ["azray.yaml"]
    assert offered(f"%azray up --file {tmp_path}/a") == [f"{tmp_path}/azray.yaml"]


def test_tab_leaves_other_lines_alone(offered, shell):
    """Lines that are not ours are completed as ever."""
    shell.user_ns["azray_thing"] = 1
    assert offered("azray_th") == ["azray_thing"]
    assert "%azray" in offered("%azra")


def test_unload_removes_everything(shell):
    """After `unload` neither the magics nor the completion are there; loading twice registers once."""
    load_ipython_extension(shell)
    ours = [m for m in shell.Completer.custom_matchers if "azray" in m.__module__]
    unload_ipython_extension(shell)
    assert len(ours) == 1
    assert shell.find_line_magic("azray") is None
    assert shell.find_cell_magic("azray") is None
    assert ours[0] not in shell.Completer.custom_matchers
    load_ipython_extension(shell)


# What loading and completing import and touch, in fresh processes.

LOADING = """
import sys, json, threading
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
at_once = set()
here = threading.current_thread()
def hook(event, args):
    if event == "import" and threading.current_thread() is here:
        at_once.add(args[0])
sys.addaudithook(hook)
shell.run_line_magic("load_ext", "azray_lab")
[t.join() for t in threading.enumerate() if t.name == "azray-warm"]
print(json.dumps([sorted(at_once), sorted(set(sys.modules) - before)]))
"""

COMPLETING = """
import sys, json, threading
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.Completer.use_jedi = False
shell.run_line_magic("load_ext", "azray_lab")
[t.join() for t in threading.enumerate() if t.name == "azray-warm"]
touched = []
watched = ("socket.", "subprocess.", "os.system", "os.fork", "os.exec", "os.posix_spawn")
sys.addaudithook(lambda event, args: touched.append(event) if event.startswith(watched) else None)
for line in ("%azray st", "%azray up --w", "%azray down ", "%azray run --cluster ", "c = %azray "):
    with provisionalcompleter():
        assert list(shell.Completer.completions(line, len(line))), line
print(json.dumps([touched, sorted(sys.modules)]))
"""


def printed(script: str) -> Any:
    """The JSON that `script` prints in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL
    )
    return json.load(io.StringIO(done.stdout.splitlines()[-1]))


def heavy(modules: list[str]) -> list[str]:
    """Those of `modules` that must not be loaded."""
    return [name for name in modules if name.partition(".")[0] in HEAVY]


def test_loading_imports_nothing_heavy():
    """Loading the extension imports nothing heavy, and in the cell that loads it not even click."""
    at_once, later = printed(LOADING)
    assert heavy(later) == []
    assert "azray_lab.magics.magic" in at_once
    assert "click" not in at_once
    assert "click" in later


def test_completing_touches_nothing():
    """TAB opens no socket, starts no process, and imports nothing heavy."""
    touched, modules = printed(COMPLETING)
    assert touched == []
    assert heavy(modules) == []
