"""A shared access signature in a URI opens the place, and is in nothing that anybody reads afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

import pytest

from azray_lab.cli import main
from azray_lab.storage.credentials.signatures import sign

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite

Azray = Callable[..., "tuple[int, str]"]
# Words of each verb, its exit code, and a part of what is said; {c}: a container's address, {sas}: the signature.
_DONE = [
    ("blob mb {account}/made?{sas}", 0, "made is made"),
    ("blob mb {c}?{sas}", 0, "data was there"),
    ("blob cp f {c}/a/f?{sas}", 0, "copied 1 file"),
    ("blob cp f {c}/a/?{sas} --dry-run", 0, "/a/f"),
    ("blob cp -r d {c}/b?{sas}", 0, "copied 2 files"),
    ("blob cp {c}/a/f?{sas} {c}/a/g?{sas}", 0, "copied 1 file"),
    ("blob cp -r {c}/b?{sas} down", 0, "copied 2 files"),
    ("blob cp {c}/b/*?{sas} down --dry-run", 0, "down/1"),
    ("blob sync d {c}/s?{sas}", 0, "copied 2 files"),
    ("blob sync {c}/s?{sas} down2", 0, "copied 2 files"),
    ("blob sync d {c}/s?{sas} --dry-run", 0, "is like"),
    ("blob sync e {c}/s?{sas} --delete", 2, "needs a yes"),
    ("blob ls {c}?{sas}", 0, "a"),
    ("blob ls -r {c}/b?{sas}", 0, "1"),
    ("blob ls {account}/?{sas}", 0, "data"),
    ("blob tree {c}?{sas}", 0, "f"),
    ("blob du {c}?{sas}", 0, "b"),
    ("blob cat {c}/a/f?{sas}", 0, "text"),
    ("blob url {c}/a/f?{sas}", 0, "/a/f"),
    ("blob rm -r {c}/b?{sas}", 2, "SIGNATURE"),
    ("blob rm -r {c}/b?{sas} --dry-run", 0, "remove"),
    ("blob rm -r {c}/b?{sas} --yes", 0, "removed 2 blobs"),
    ("blob rm {c}/a/g?{sas}", 0, "removed 1 blob"),
    ("mount {c}/s?{sas} m --explain", 0, "/data/s"),
    ("mount {c}/s?{sas} m --engine hydrate -p dataset", 0, "/data/s"),
    ("mounts", 0, "/data/s"),
    ("unmount m", 0, "unmounted"),
]
_FAILED = [
    ("blob ls {account}/nowhere?{sas}", "there is no container"),
    ("blob cat {c}/none?{sas}", "there is no blob"),
    ("blob rm {c}/none?{sas}", "there is no blob"),
    ("blob cp f {account}/nowhere/x?{sas}", "mb"),
    ("blob cp none {c}/x?{sas}", "there is no file"),
    ("blob cp - {c}/x?{sas}", "copy that to http"),
    ("blob cp {c}/x?{sas} -", "azray blob cat http"),
    ("blob cp account/data/x?{sas} d", "neither"),
    ("blob cp {c}?{sas} down3", "-r"),
    ("blob sync {c}/none?{sas} down3", "there is no"),
    ("blob ls {c}?{sas}x", "may not be accessed"),
    ("blob ls {c}?{sas} {c}?{sas}", "unexpected extra argument"),
    ("blob {c}?{sas}", "no verb"),
    ("{c}?{sas}", "no verb"),
    ("blob ls az://data?{sas}", "names no account"),
    ("blob ls az://data/x?{sas}", "names no account"),
    ("blob ls abfss://data@127.0.0.1:1/acc/\udcff?{sas}", "Unicode"),
    ("blob ls {c}/../x?{sas}", "`..`"),
    ("blob ls s3://data?{sas}", "no Blob URI"),
    ("blob ls {account}/BAD?{sas}", "container"),
    ("blob ls http://127.0.0.1:1/acc/data?{sas}", "does not answer"),
    ("mount {account}/nowhere?{sas} n --engine hydrate -p dataset", "there is no container"),
    ("mount {account}?{sas} n", "names no container"),
    ("mount {c}?{sas} n --set what={sas}", "no setting"),
    ("mounts --mend {c}?{sas}", "unexpected extra argument"),
    ("mounts --tune {account}/nowhere?{sas}", "there is no container"),
]


@pytest.fixture
def sas(azurite: Azurite) -> str:
    """A signature of the account."""
    azurite.container("data")
    return sign(azurite.blob_endpoint, azurite.key, time.time() + 3600)


@pytest.fixture
def azray(
    azurite: Azurite, sas: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> Azray:  # fmt: skip
    """Runs `azray` and returns its exit code and all that it said, in which the signature is nowhere."""
    del fresh_home
    monkeypatch.chdir(tmp_path)
    for folder in ("d", "e"):
        (tmp_path / folder).mkdir()
    (tmp_path / "f").write_text("text")
    (tmp_path / "d" / "1").write_text("1")
    (tmp_path / "d" / "2").write_text("2")
    for path in (tmp_path / "d").iterdir():
        os.utime(path, (time.time() - 60, time.time() - 60))  # what is of the second of a sync is copied again
    secret = parse_qs(sas)["sig"][0]

    def run(words: str, *more: str) -> tuple[int, str]:
        account = azurite.blob_endpoint
        filled = [one.format(account=account, c=f"{account}/data", sas=sas) for one in words.split()]
        code = main([*filled, *more])
        out, err = capfd.readouterr()
        said = out + err + caplog.text
        for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe="")):
            assert form not in said, (words, more)
        assert "Traceback" not in said
        return code, said

    return run


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "--json", "--events"])
def test_no_verb_repeats_it(azray: Azray, how: str):
    """Every verb of blobs and mounts, as text, JSON and events, also the question that nobody can answer."""
    for words, code, part in _DONE:
        quick = any(f"blob {name} " in words for name in ("mb", "ls", "tree", "du", "cat", "url"))
        found, said = azray(words, *filter(None, ["" if quick and how == "--events" else how]))
        assert found == code, said
        assert how or part in said


@pytest.mark.parametrize("how", ["", "--json"])
def test_no_error_repeats_it(azray: Azray, how: str):
    """Whatever is wrong with the words, the URI, the place or the signature."""
    for words, part in _FAILED:
        code, said = azray(words, *filter(None, [how]))
        assert code in {1, 2}, said
        assert part in said


@pytest.mark.slow
def test_measuring_profiles_does_not_repeat_it(azray: Azray):
    """`mounts --tune` names the place in its operation, its stages, its title and its JSON."""
    azray("blob cp -r d {c}/t?{sas}")
    code, said = azray("mounts --seconds 4 --events --tune {c}/t?{sas}")
    assert code == 0, said
    assert "recommended" in said
    (result,) = [json.loads(line) for line in said.splitlines() if '"event": "result"' in line]
    assert result["value"]["uri"].endswith("/data/t")
