"""Settings: places in odd environments, and that reading them is light."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from azray_lab.errors import InsecureFileError, RegistryError
from azray_lab.spec import settings

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that a user without rights reaches: pytest's own are closed to others."""
    folder = Path(os.path.realpath("/tmp")) / f"azray-open-{os.getpid()}"  # noqa: S108 - made here, removed here
    del tmp_path_factory
    folder.mkdir(mode=0o755)
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o700)
        path.rmdir()
    folder.rmdir()


def _bare(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What `code` says in a fresh interpreter with that environment alone, as after `env -i`."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from azray_lab.spec import settings as s; {code}"
    return subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)


def test_the_state_folder_follows_the_environment(tmp_path):
    """AZRAY_HOME wins, then XDG_STATE_HOME, then HOME; the folder is made for its user alone."""
    home, xdg, own = (str(tmp_path / name) for name in ("home", "xdg", "own"))
    assert settings.state_dir({"HOME": home}) == Path(home, ".local/state/azray-lab")
    assert settings.state_dir({"HOME": home, "XDG_STATE_HOME": xdg}) == Path(xdg, "azray-lab")
    assert settings.state_dir({"HOME": home, "XDG_STATE_HOME": "relative"}) == Path(home, ".local/state/azray-lab")
    found = settings.state_dir({"HOME": home, "XDG_STATE_HOME": xdg, "AZRAY_HOME": own})
    assert found == Path(own)
    assert found.stat().st_mode & 0o777 == 0o700
    assert settings.state_dir({"AZRAY_HOME": own}) == found


def test_the_process_environment_is_the_default(tmp_path, monkeypatch):
    """Without a mapping the process's own variables count."""
    monkeypatch.setenv("AZRAY_HOME", str(tmp_path / "a"))
    assert settings.state_dir() == tmp_path / "a"


def test_a_relative_home_is_refused():
    """A relative AZRAY_HOME would lose clusters with the next `cd`."""
    with pytest.raises(RegistryError, match=r"relative path here.*export AZRAY_HOME=/some/writable/folder"):
        settings.state_dir({"AZRAY_HOME": "here"})


@pytest.mark.parametrize("home", ["/proc", "/dev/null"])
def test_a_home_that_cannot_be_written_is_named(home):
    """Where no folder can be made, the error names the path and the variable to set."""
    with pytest.raises(RegistryError) as caught:
        settings.state_dir({"HOME": home})
    assert f"{home}/.local/state/azray-lab" in str(caught.value)
    assert caught.value.next_step == "export AZRAY_HOME=/some/writable/folder"
    assert caught.value.facts["path"].startswith(home)


@pytest.mark.parametrize("made_before", [False, True])
def test_a_read_only_home_is_named(open_folder, made_before):
    """A home whose user may not write there gives a clear error, whether the folder exists or not."""
    state = open_folder / ".local" / "state" / "azray-lab"
    state.mkdir(parents=True) if made_before else None
    for path in (open_folder, *open_folder.rglob("*")):
        path.chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(NOBODY)  # root may write everywhere
    try:
        with pytest.raises(RegistryError) as caught:
            settings.state_dir({"HOME": str(open_folder)})
    finally:
        os.seteuid(me)
        open_folder.chmod(0o755)
    assert str(open_folder) in str(caught.value)
    assert "export AZRAY_HOME=" in caught.value.next_step


def test_without_home_the_user_database_says_where(tmp_path):
    """With an empty environment the home of the user database is meant; an empty HOME is none."""
    expected = Path(pwd.getpwuid(os.geteuid()).pw_dir, ".local/state/azray-lab")
    for environ in ({}, {"HOME": ""}):
        shown = _bare("print(s._state_path(None))", **environ)
        assert shown.stdout.strip() == str(expected), shown.stderr
    shown = _bare("print(s.state_dir())", AZRAY_HOME=str(tmp_path / "state"))
    assert shown.stdout.strip() == str(tmp_path / "state")


@pytest.mark.root
def test_a_user_without_entry_and_home_is_told_what_to_set():
    """A user id that the database does not know, as in many containers, gets a clear error without HOME."""
    me, stranger = os.geteuid(), 54_321
    os.seteuid(stranger)
    try:
        with pytest.raises(RegistryError, match=f"user {stranger} is not in the user database.*export AZRAY_HOME="):
            settings.state_dir({})
    finally:
        os.seteuid(me)


def test_the_runtime_folder_is_short_and_private(tmp_path):
    """AZRAY_RUNTIME_DIR or a short default; made with mode 0700 and found again."""
    place = {"AZRAY_RUNTIME_DIR": str(tmp_path / "r")}
    assert settings.runtime_dir(place) == tmp_path / "r"
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o700
    assert settings.runtime_dir(place) == tmp_path / "r"
    assert len(str(settings._runtime_path({}))) <= len("/tmp/azray-4294967295")  # noqa: S108 - the default itself


def test_an_open_runtime_folder_is_refused(tmp_path):
    """A folder that others may enter is refused with the command that closes it."""
    folder = tmp_path / "r"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(InsecureFileError) as caught:
        settings.runtime_dir({"AZRAY_RUNTIME_DIR": str(folder)})
    assert caught.value.facts == {"path": str(folder), "mode": "0755"}
    assert caught.value.next_step == f"chmod 700 {folder}"
    folder.chmod(0o700)
    assert settings.runtime_dir({"AZRAY_RUNTIME_DIR": str(folder)}) == folder


def test_a_linked_or_foreign_runtime_folder_is_refused(tmp_path):
    """A symbolic link, and another user's folder, are traps in a place like /tmp."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InsecureFileError, match="symbolic link"):
        settings.runtime_dir({"AZRAY_RUNTIME_DIR": str(tmp_path / "link")})
    foreign = "/proc/1" if os.geteuid() else str(tmp_path / "theirs")
    if not os.geteuid():
        (tmp_path / "theirs").mkdir(mode=0o700)
        os.chown(foreign, NOBODY, NOBODY)
    with pytest.raises(InsecureFileError, match="belongs to user"):
        settings.runtime_dir({"AZRAY_RUNTIME_DIR": foreign})
    with pytest.raises(RegistryError, match="cannot be made"):
        settings.runtime_dir({"AZRAY_RUNTIME_DIR": "/dev/null/x"})


def test_storage_and_spec_variables_are_told_apart():
    """Each reader gets its own variables, without empty ones."""
    environ = {
        "AZURE_STORAGE_ACCOUNT": "a",
        "AZURE_STORAGE_KEY": "",
        "AZURE_X": "1",
        "AZRAY_HOME": "/x",
        "AZRAY_NAME": "n",
    }
    assert settings.blob_environment(environ) == {"AZURE_STORAGE_ACCOUNT": "a"}
    assert settings.spec_environment(environ) == {"AZRAY_NAME": "n"}
    assert settings.required_parts({"AZRAY_REQUIRE": "azurite, node,"}) == {"azurite", "node"}
    assert settings.default_cluster({"AZRAY_CLUSTER": ""}) is None
    assert settings.default_cluster({"AZRAY_CLUSTER": "a"}) == "a"


def test_settings_load_nothing_heavy(tmp_path):
    """`azray list` starts with the settings: neither pydantic, PyYAML nor platformdirs is imported."""
    code = (
        "s.state_dir(); s.runtime_dir(); print([m for m in ('pydantic', 'yaml', 'platformdirs') if m in sys.modules])"
    )
    shown = _bare(code, AZRAY_HOME=str(tmp_path / "a"), AZRAY_RUNTIME_DIR=str(tmp_path / "b"))
    assert shown.stdout.strip() == "[]", shown.stderr


def test_settings_alone_read_the_spec_variables():
    """No other module of `spec` touches the process environment."""
    folder = ROOT / "azray_lab" / "spec"
    readers = [
        path.name for path in folder.glob("*.py") if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]
    assert readers == ["settings.py"]
