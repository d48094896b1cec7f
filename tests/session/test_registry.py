"""The registry on disk: what survives crashes, wrong files, newer versions and many processes at once."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import azray_lab
from azray_lab import registry
from azray_lab.errors import RegistryError, UnknownClusterError, UsageError
from azray_lab.operation import Operation
from azray_lab.spec.models import ClusterSpec
from azray_lab.targets.base import HANDLE_VERSION, Handle


def handle(name: str, **more: object) -> Handle:
    """A handle of a cluster that never was."""
    details = {"state_dir": "/nowhere/state", "runtime_dir": "/nowhere/run", "nodes": {}}
    return Handle(name, "local", "0a0b0c0d", {"name": name}, time.time(), details=details).but(**more)


def test_a_handle_that_was_saved_is_read_back(fresh_home: Path) -> None:
    """Saving, listing and forgetting are one file each, readable by its user only."""
    saved = handle("a", phase="up", address="127.64.0.1:1")
    registry.save(saved)
    assert registry.get("a") == saved
    assert registry.handles() == [saved]
    file = fresh_home / "clusters" / "a.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    registry.forget("a")
    registry.forget("a")
    assert registry.names() == []


def test_an_unknown_cluster_names_the_nearest(fresh_home: Path) -> None:
    """The error has the known names, and the nearest one."""
    del fresh_home
    registry.save(handle("training"))
    with pytest.raises(UnknownClusterError, match="Did you mean 'training'") as caught:
        registry.get("trainin")
    assert caught.value.facts["known"] == ["training"]


_BROKEN = ["", "{", '{"version": 1', "[]", "null", '{"version": 1}', '{"version": "x"}', "\x00\x01"]
_BROKEN += ['{"version": 1, "name": 5}', '{"version":1,"name":"bad","target":"local","id":"1","spec":[],"created":0}']


@pytest.mark.parametrize("content", _BROKEN)
def test_a_broken_file_is_set_aside_and_named(fresh_home: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    """Half-written, empty and wrong files do not hide the others, and are kept under another name."""
    registry.save(handle("good"))
    broken = fresh_home / "clusters" / "bad.json"
    broken.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert [h.name for h in registry.handles()] == ["good"]
    assert "bad.json is no handle" in caplog.text
    assert not broken.exists()
    (aside,) = broken.parent.glob("bad.broken-*")
    assert aside.read_text() == content


def test_a_newer_file_is_left_alone_and_named(fresh_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a later version wrote stays as it is; a list goes on without it, and asking for it says to upgrade."""
    newer = fresh_home / "clusters" / "later.json"
    registry.save(handle("later"))
    newer.write_text(json.dumps({"version": HANDLE_VERSION + 1, "shape": "unknown"}))
    with caplog.at_level(logging.WARNING):
        assert registry.handles() == []
    assert "newer version" in caplog.text
    with pytest.raises(RegistryError, match="--upgrade"):
        registry.get("later")
    assert json.loads(newer.read_text())["version"] == HANDLE_VERSION + 1


def test_a_read_only_home_says_what_to_set(fresh_home: Path) -> None:
    """Where nothing can be written, the error is one line with the variable to set."""
    (fresh_home / "clusters").write_text("a file where the folder should be")
    with pytest.raises(RegistryError, match="AZRAY_HOME"):
        registry.save(handle("a"))


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a/b", "../a", "a" * 41, "a\n", "ä", "1a", "a b"])
def test_unsafe_names_are_refused_everywhere(fresh_home: Path, name: str) -> None:
    """A name that is unsafe as path, label or DNS name never becomes a file name."""
    del fresh_home
    for ask in (registry.get, registry.forget, lambda n: registry.save(handle(n))):
        with pytest.raises(UsageError, match="no name of a cluster"):
            ask(name)


@given(st.text(alphabet="ab9-A_/. ", max_size=45))
def test_the_registry_and_the_spec_have_one_grammar_of_names(name: str) -> None:
    """What the spec takes as a name, the registry takes, and nothing else."""
    try:
        ClusterSpec(name=name)
        valid = True
    except ValueError:
        valid = False
    assert bool(registry.NAME.fullmatch(name)) == valid


_MANY = """
import pathlib
import sys
from azray_lab import registry
from azray_lab.operation import Operation
from azray_lab.targets.base import Handle
number, counter = int(sys.argv[1]), pathlib.Path(sys.argv[2])
mine, shared = f"own-{number}", "shared"
def handle(name, address=""):
    return Handle(name, "local", "00", {"name": name}, 1.0, address=address)
for turn in range(10):
    registry.save(handle(mine, str(turn)))
    assert registry.get(mine).address == str(turn)
    with registry.lock(shared, Operation("count")):
        before = registry.handle_or_none(shared)
        count = int(before.address) if before else 0
        registry.save(handle(shared, str(count + 1)))
    with registry.lock("nobody", Operation("count")):  # no such cluster, so the lock's file goes each time
        counter.write_text(str(int(counter.read_text()) + 1))
    registry.handles()
    if turn % 2:
        registry.forget(mine)
if number % 2:
    registry.save(handle(mine, "last"))
"""


@pytest.mark.slow
def test_fifty_processes_at_once_lose_nothing(fresh_home: Path) -> None:
    """50 processes that save, list, lock and forget at once: each finds its own, and no locked change is lost."""
    counter = fresh_home / "counter"
    counter.write_text("0")
    command = [sys.executable, "-W", "error", "-c", _MANY]
    crowd = [subprocess.Popen([*command, str(i), str(counter)], stderr=subprocess.PIPE, text=True) for i in range(50)]
    problems = [process.communicate(timeout=240)[1] for process in crowd]
    assert [process.returncode for process in crowd] == [0] * 50, [p for p in problems if p][:1]
    assert registry.get("shared").address == counter.read_text() == "500"
    assert not (fresh_home / "clusters" / "nobody.lock").exists()
    assert set(registry.names()) == {"shared", *(f"own-{i}" for i in range(1, 50, 2))}
    assert not list((fresh_home / "clusters").glob("*.broken-*"))
    assert not list((fresh_home / "clusters").glob(".*.json.*"))


def test_a_lock_goes_with_its_cluster(fresh_home: Path) -> None:
    """The lock of a cluster that is there stays in the folder, that of one that is gone does not."""
    place = fresh_home / "clusters"
    registry.save(handle("a"))
    with registry.lock("a", Operation("work")):
        pass
    assert (place / "a.lock").exists()
    with registry.lock("a", Operation("down")):
        registry.forget("a")
    assert list(place.iterdir()) == []


def test_a_lock_of_a_dead_process_is_free(fresh_home: Path) -> None:
    """A process that is killed while it works on a cluster does not block the next one."""
    del fresh_home
    hold = (
        "from azray_lab import registry; from azray_lab.operation import Operation; import sys\n"
        "with registry.lock('a', Operation('hold')):\n print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
    with registry.lock("a", Operation("next"), seconds=10):
        assert True


def test_a_request_to_cancel_counts_while_its_process_lives(fresh_home: Path) -> None:
    """A request that a killed `down` left behind stops nobody."""
    del fresh_home
    from azray_lab.cluster.lifecycle import asked_to_stop
    from azray_lab.targets.base import this_process

    assert asked_to_stop("a") is None
    request = registry.request_cancel("a", this_process().to_dict())
    assert str(os.getpid()) in str(asked_to_stop("a"))
    registry.request_cancel("a", {**this_process().to_dict(), "started": 1.0})
    assert asked_to_stop("a") is None
    request.unlink()


def test_a_thousand_handles_are_listed_with_their_state(fresh_home: Path) -> None:
    """`overview` opens no connection and imports neither pydantic nor Ray, however many clusters there are."""
    for i in range(1000):
        registry.save(handle(f"c{i}", phase="up"))
    code = (
        "import sys; from azray_lab.cluster import overview; rows = overview()\n"
        "heavy = {'pydantic', 'ray', 'fsspec', 'rich'} & set(sys.modules)\n"
        "print(len(rows), {state for _, state in rows}, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "1000 {'lost'} []"
    assert fresh_home.is_dir()


def test_the_public_functions_find_what_is_registered(fresh_home: Path) -> None:
    """`clusters` and `attach` give the clusters of the registry; one that is gone shows as lost, not as an error."""
    del fresh_home
    registry.save(handle("gone", phase="up"))
    (cluster,) = azray_lab.clusters()
    assert (cluster.name, cluster.state) == ("gone", "lost")
    assert "gone: lost" in repr(azray_lab.attach("gone"))
