"""The verbs on a real cluster: `azray` in processes of its own, `%azray` in a real kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from azray_lab import registry
from azray_lab.targets.base import Handle

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = ("--set", "head.cpus=1", "--set", "head.object_store_memory=80MiB")


@pytest.fixture(scope="module")
def cluster(azray, azray_home) -> Iterator[str]:
    """The name of a running cluster without workers."""
    del azray_home
    up = azray("up", "--name", "a", *SMALL, "--json")
    assert up.code == 0, up.err
    assert up.document["state"] == "running"
    yield "a"
    azray("down", "a", "--yes")


def test_up_again_is_the_same_cluster(azray, cluster):
    """`up` with the same name and spec returns the running cluster."""
    before = azray("status", cluster, "--json").document
    again = azray("up", "--name", cluster, *SMALL, "--json")
    assert again.code == 0
    assert again.document["created"] == before["created"]


def test_status_and_list_tell_its_state(azray, cluster):
    """`status` and `list` say `running`; a single cluster need not be named."""
    document = azray("status", cluster, "--json").document
    assert (document["name"], document["state"]) == (cluster, "running")
    assert azray("status").out.startswith(f"{cluster}: running (local)")
    assert [(c["name"], c["state"]) for c in azray("list", "--json").document] == [(cluster, "running")]
    assert "running" in azray("list").out


def test_unknown_cluster_names_the_nearest(azray, cluster):
    """A wrong cluster name is wrong use, names the nearest, and does nothing."""
    del cluster
    for words in (["status", "aa"], ["down", "aa", "--yes"], ["connect", "aa"], ["attach", "aa"], ["scale", "aa", "1"]):
        shown = azray(*words)
        assert shown.code == 2, words
        assert "Did you mean 'a'?" in shown.err


def test_down_needs_a_yes_in_a_pipe(azray, cluster):
    """Where nobody can be asked `down` does nothing without --yes, and says so."""
    shown = azray("down", cluster, stdin="y\n")
    assert shown.code == 2
    assert f"azray down {cluster} --yes" in shown.err
    assert azray("status", cluster, "--json").document["state"] == "running"


def test_attach_runs_in_the_cluster_s_environment(azray, cluster):
    """What `attach` runs finds the cluster and the token, but has no id by which `down` would find and end it."""
    shown = azray("attach", cluster, "--", "env")
    variables = dict(line.partition("=")[::2] for line in shown.out.splitlines())
    endpoint = registry.get(cluster).endpoint
    assert variables["RAY_ADDRESS"] == endpoint.address
    assert variables["RAY_API_SERVER_ADDRESS"] == endpoint.dashboard_url
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN_PATH"] == endpoint.token_path
    assert variables["AZRAY_CLUSTER"] == cluster
    assert "AZRAY_CLUSTER_ID" not in variables


def test_attach_opens_the_shell_and_returns_its_code(azray, cluster):
    """Without a command it is $SHELL that opens; its exit code is the verb's."""
    shown = azray("attach", cluster, stdin="echo $RAY_AUTH_MODE; exit 7\n", SHELL="/bin/sh")
    assert (shown.code, shown.out) == (7, "token\n")
    assert azray("attach", cluster, "--", "no-such-program").code == 2


def test_connect_prints_how(azray, cluster):
    """In a terminal `connect` says how to connect, without the token."""
    token = Path(registry.get(cluster).endpoint.token_path).read_text().strip()
    shown = azray("connect", cluster)
    assert f'azray_lab.attach("{cluster}").connect()' in shown.out
    assert "export RAY_AUTH_TOKEN_PATH=" in shown.out
    assert token not in shown.out


def test_extend_moves_the_lease(azray, cluster):
    """`extend` moves the end of the lease; a duration that is none is wrong use."""
    assert azray("extend", cluster, "2h").code == 0
    assert azray("extend", cluster, "soon").code == 2


def test_tab_knows_its_name(azray, cluster):
    """The shell's completion offers the registered names."""
    del cluster
    shown = azray(_AZRAY_COMPLETE="bash_complete", COMP_WORDS="azray status ", COMP_CWORD="2")
    assert shown.out == "plain,a\n"


def test_kernel_is_connected_by_connect(cluster):
    """`%azray connect` connects the kernel, `%azray` says what runs, `%azray status` is rich; down needs no yes."""
    cells = [
        "%load_ext azray_lab",
        f"c = %azray connect {cluster}",
        "import ray; print(len(ray.nodes()))",
        "%azray",
        "%azray status",
        "c.disconnect()",
    ]
    made = [nbformat.v4.new_code_cell(text) for text in cells]  # type: ignore[no-untyped-call]
    notebook: Any = nbformat.v4.new_notebook(cells=made)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert notebook.cells[2].outputs[-1].text == "1\n"
    assert all("running" in notebook.cells[i].outputs[-1].data["text/html"] for i in (3, 4))


def test_cell_of_yaml_is_the_spec(tmp_path):
    """`%%azray up` takes its spec from the cell, connects the kernel, and `%azray down` ends the cluster."""
    del tmp_path
    cells = [
        "%load_ext azray_lab",
        "%%azray up\nname: yaml\nhead: {cpus: 1, object_store_memory: 80MiB}",
        "import ray; print(ray.is_initialized(), _.name)",
        "%azray down yaml",
    ]
    made = [nbformat.v4.new_code_cell(text) for text in cells]  # type: ignore[no-untyped-call]
    notebook: Any = nbformat.v4.new_notebook(cells=made)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    assert notebook.cells[2].outputs[-1].text == "True yaml\n"
    assert "yaml" not in registry.names()


def test_no_wait_goes_on_by_itself(azray, until: Callable[..., Any]):
    """`up --no-wait` returns with the cluster registered; it becomes running without the process that asked for it."""
    asked = azray("up", "--name", "later", *SMALL, "--no-wait", "--json")
    assert asked.code == 0, asked.err
    assert asked.document["state"] == "starting"
    assert "later" in registry.names()
    until(lambda: azray("status", "later", "--json").document.get("state") != "starting", "the cluster")
    assert azray("status", "later", "--json").document["state"] == "running", Path(asked.document["log"]).read_text()
    assert azray("down", "later", "--yes").code == 0
    assert "dashboard done" in Path(asked.document["log"]).read_text()


def test_list_of_a_thousand(azray, fresh_home):
    """A thousand handles are listed with their states, and none of them is asked anything."""
    for number in range(1000):
        registry.save(_gone(f"c{number}", fresh_home))
    shown = azray("list", "--json")
    assert len(shown.document) == 1000
    assert {c["state"] for c in shown.document} == {"lost"}


def _gone(name: str, home: Path) -> Handle:
    """The handle of a cluster whose head is gone."""
    head = {"pid": 2**22, "started": 1.0, "session": 2**22}
    details = {"state_dir": str(home / name), "runtime_dir": str(home / name), "nodes": {"head": head}}
    return Handle(name, "local", f"id-{name}", {"name": name}, time.time(), "up", details=details)
