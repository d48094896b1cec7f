"""The verb `ui`: a form in a kernel, and what to do instead in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from azray_lab.errors import UsageError
from azray_lab.magics.notebook import NotebookFace
from azray_lab.verbs.tree import invoke
from azray_lab.widgets.form import Form


def test_a_notebook_gets_the_form(tmp_path):
    """`%azray ui` takes the options of `up`, a file as well, and returns the form; `--json` gives its spec."""
    file = tmp_path / "azray.yaml"
    file.write_text("name: filed\n")
    face = NotebookFace(None)
    form = invoke(["ui", "-f", str(file), "--workers", "2", "--set", "head.cpus=1"], face, program="%azray")
    assert isinstance(form, Form)
    expected = {"name": "filed", "target": "local", "head": {"cpus": 1}, "workers": [{"count": 2}]}
    assert form.to_dict() == expected
    invoke(["ui", "--json"], face, program="%azray")
    assert face.shown(form) == expected


def test_a_cell_fills_the_form():
    """`%%azray ui` is filled from the YAML in the cell."""
    form = invoke(["ui"], NotebookFace("name: cell\nlease: {idle: 30m}\n"), program="%azray")
    assert form.yaml == "name: cell\ntarget: local\nlease:\n  idle: 30m\n"


@pytest.mark.parametrize("words", [["ui", "--wrokers", "2"], ["ui", "--set", "head.cpus=x"]])
def test_a_wrong_line_is_refused(words):
    """A wrong option and a wrong value are errors of the line, as for `up`."""
    with pytest.raises(UsageError):
        invoke(words, NotebookFace(None), program="%azray")


def test_a_terminal_says_what_to_do():
    """`azray ui` in a terminal fails with one line that names the verbs to use, also as JSON."""
    command = [sys.executable, "-m", "azray_lab", "ui", "--name", "a"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines()[0].endswith("Next: azray plan --name a, or %azray ui in a notebook")
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(shown.stdout)["error"]["code"] == "Unsupported"
