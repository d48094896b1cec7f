"""`azray blob` as a person or a program calls it: a real process against a real Blob service."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite

Azray = Callable[..., "subprocess.CompletedProcess[str]"]
_AZRAY = [sys.executable, "-m", "azray_lab", "blob"]


@pytest.fixture
def blob(azurite: Azurite, tmp_path: Path) -> Azray:
    """Runs `azray blob ...` in a folder of the test's own, on the module's server with the container `data`."""
    azurite.container("data")

    def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | azurite.environment() | environ
        return subprocess.run(
            [*_AZRAY, *words], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120, check=False
        )

    run.environment = azurite.environment()  # type: ignore[attr-defined]
    return run


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_goes_up_is_listed_and_comes_down(blob: Azray, tmp_path: Path):
    """The three calls of the help, as a person sees them."""
    (tmp_path / "model ü.bin").write_bytes(b"weights")
    up = blob("cp", "model ü.bin", "az://data/models/")
    assert (up.returncode, up.stdout.partition(" in ")[0]) == (0, "copied 1 file, 7 B"), up.stderr
    assert "model ü.bin" in blob("ls", "az://data/models").stdout
    assert blob("cp", "-r", "az://data/models", "back").returncode == 0
    assert (tmp_path / "back" / "model ü.bin").read_bytes() == b"weights"


def test_json_is_one_document(blob: Azray, tmp_path: Path):
    """`--json` of both verbs, on stdout alone."""
    (tmp_path / "x").write_text("four")
    copied = _json(blob("cp", "x", "az://data/json/x", "--json"))
    assert {"files": 1, "bytes": 4, "destination": "az://data/json/x"}.items() <= copied.items()
    (entry,) = _json(blob("ls", "-r", "az://data/json", "--json"))
    assert {"type": "blob", "uri": "az://data/json/x", "size": 4}.items() <= entry.items()
    assert {"type": "container", "uri": "az://data"}.items() <= _json(blob("ls", "--json"))[0].items()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ls", "az://nowhere"), 1, "there is no container az://nowhere"),
        (("ls", "az://data/none"), 1, "there is no blob az://data/none"),
        (("ls", "s3://data"), 2, "az://container/path"),
        (("cp", "here", "there"), 2, "neither here nor there"),
        (("cp", "none", "az://data/x"), 2, "there is no file none"),
        (("cp", "-", "az://data/x"), 2, "cp does not read its input"),
        (("cp", "az://data/x", "-"), 2, "azray blob cat az://data/x"),
        (("cat", "az://data"), 2, "az://data is no blob: it is a container"),
        (("rm", "az://data/none*"), 1, "there is no blob az://data/none*"),
    ],
)
def test_what_is_wrong_is_one_line(blob: Azray, words: tuple[str, ...], code: int, said: str):
    """The exit code, one line on stderr with the next step, nothing on stdout."""
    done = blob(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Next: " in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_account_the_variables_are_named(blob: Azray):
    """An empty variable counts as none."""
    done = blob("ls", "--json", AZURE_STORAGE_CONNECTION_STRING="")
    assert done.returncode == 1
    assert "AZURE_STORAGE_ACCOUNT_URL" in done.stdout + done.stderr


def test_a_refused_key_is_not_printed(blob: Azray, azurite: Azurite):
    """One clean line: the service's status, the variable, and no secret."""
    wrong = azurite.connection_string.replace(azurite.key, "d3Jvbmcta2V5LXdyb25nLWtleQ==")
    done = blob("ls", "az://data", AZURE_STORAGE_CONNECTION_STRING=wrong)
    assert done.returncode == 1
    assert "403" in done.stderr
    assert "d3Jvbmc" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_in_the_middle_leaves_nothing(blob: Azray, azurite: Azurite, tmp_path: Path):
    """Interrupted after its first progress, a copy ends with 130 and no blob; the next one works."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(4 * 2**30)  # sparse: it takes no space, and more time than an interrupt
    process = subprocess.Popen(
        [*_AZRAY, "cp", "huge", "az://data/interrupted/huge", "--events"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | azurite.environment(),
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "progress":
                process.send_signal(signal.SIGINT)
                break
        process.communicate(timeout=120)
    assert process.returncode == 130
    (tmp_path / "after").write_text("x")
    assert blob("cp", "after", "az://data/interrupted/").returncode == 0
    assert [entry["uri"] for entry in _json(blob("ls", "-r", "az://data/interrupted", "--json"))] == [
        "az://data/interrupted/after"
    ]


@pytest.mark.slow
def test_a_closed_terminal_leaves_nothing(until: Callable[..., Any], tmp_path: Path):
    """It ends the download, as Ctrl-C does, and the file that was not complete is removed."""
    with run_blob_server(rate=2e6) as slow:  # 2 s a range, 20 at a time
        slow.seed("data", "large", 1, b"x" * 2**20, 200)
        # Under nohup, as tests may run, the signal is ignored, which programs hand on.
        words = ["env", "--default-signal=HUP", *_AZRAY, "cp", "az://data/large", "new/large"]
        environment = os.environ | slow.environment()
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd=tmp_path, env=environment) as process:
            until(lambda: list(tmp_path.rglob("*.part")), "the file that is begun")
            process.send_signal(signal.SIGHUP)
            assert process.wait(60) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_other_verbs_as_a_person_calls_them(blob: Azray, tmp_path: Path):
    """mb, sync, tree, du, cat and url, each by one call."""
    (tmp_path / "here" / "sub").mkdir(parents=True)
    (tmp_path / "here" / "a").write_text("1")
    (tmp_path / "here" / "sub" / "b").write_bytes(bytes(range(256)))
    for path in (tmp_path / "here").rglob("*"):
        os.utime(path, (time.time() - 60, time.time() - 60))  # what is of the second of a sync is copied again
    assert blob("mb", "az://verbs").stdout == "az://verbs is made\n"
    assert blob("mb", "az://verbs").stdout == "az://verbs was there\n"
    assert blob("sync", "here", "az://verbs/x").stdout.startswith("copied 2 files, 257 B")
    assert "2 unchanged" in blob("sync", "here", "az://verbs/x").stdout
    assert "`-- b  (256 B)" in blob("tree", "az://verbs").stdout
    assert blob("du", "az://verbs").stdout.splitlines()[-1].split() == ["az://verbs", "2", "257", "B"]
    assert blob("url", "az://verbs/x/a").stdout.strip().endswith("/devstoreaccount1/verbs/x/a")
    copied = subprocess.run([*_AZRAY, "cat", "az://verbs/x/sub/b"], capture_output=True, check=True, env=blob_env(blob))
    assert copied.stdout == bytes(range(256))


@pytest.mark.slow
def test_more_than_one_is_removed_after_a_yes_only(blob: Azray, tmp_path: Path):
    """One blob goes at once; several need --yes where nobody can be asked; --dry-run removes nothing."""
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
        blob("cp", name, "az://data/rm/")
    assert blob("rm", "az://data/rm/one").stdout == "removed 1 blob at az://data/rm/one\n"
    assert len(_json(blob("rm", "-r", "az://data/rm", "--dry-run", "--json"))) == 2
    refused = blob("rm", "-r", "az://data/rm")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    assert {"files": 2, "bytes": 8}.items() <= _json(blob("rm", "-r", "az://data/rm", "--yes", "--json")).items()
    assert blob("rm", "az://data/rm/one").returncode == 1


def test_a_missing_container_can_be_made(blob: Azray, tmp_path: Path):
    """The error names the command that makes it; `--create` does it on the way."""
    (tmp_path / "x").write_text("x")
    refused = blob("cp", "x", "az://offered/x")
    assert (refused.returncode, "azray blob mb az://offered" in refused.stderr) == (1, True)
    (planned,) = _json(blob("cp", "x", "az://offered/x", "--dry-run", "--json"))
    assert planned == {"action": "copy", "source": "x", "target": "az://offered/x", "size": 1}
    assert blob("cp", "x", "az://offered/x", "--create", "--check", "md5").returncode == 0
    assert blob("cat", "az://offered/x").stdout == "x"


def test_a_person_is_offered_the_container(blob: Azray, tmp_path: Path):
    """At a terminal the question comes, and a yes makes the container and copies."""
    (tmp_path / "x").write_text("x")
    assert _at_terminal([*_AZRAY, "cp", "x", "az://asked/x"], blob_env(blob), tmp_path, "y\n") == 0
    assert blob("cat", "az://asked/x").stdout == "x"
    assert _at_terminal([*_AZRAY, "cp", "x", "az://denied/x"], blob_env(blob), tmp_path, "n\n") == 1
    assert blob("ls", "az://denied").returncode == 1


def blob_env(blob: Azray) -> dict[str, str]:
    """The environment in which `blob` runs."""
    own: dict[str, str] = blob.environment  # type: ignore[attr-defined]
    return os.environ | own


def _at_terminal(command: list[str], environment: dict[str, str], folder: Path, answer: str) -> int:
    """Runs `command` at a pseudo-terminal whose person types `answer`; its exit status."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment) as process:
        os.close(theirs)
        seen = ""
        while "[y/N]" not in seen:
            seen += os.read(ours, 4096).decode()
        os.write(ours, answer.encode())
        with contextlib.suppress(OSError):  # the terminal ends with the process
            while os.read(ours, 4096):
                pass
    os.close(ours)
    return process.returncode
