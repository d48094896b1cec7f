"""What workers get without a cluster: the seal, the runtime environment, and the relay of tokens."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

import azray_lab
from azray_lab.errors import CredentialError, UsageError
from azray_lab.jobs import runner
from azray_lab.storage.credentials import Identity, Tokens
from azray_lab.storage.credentials import tokens as tokens_module
from azray_lab.storage.credentials.sealing import seal, unseal
from azray_lab.workers.relay import Relay, _Kept

_SECRET = "s3cret-of-the-app-0815"


def test_a_seal_opens_with_its_token_only():
    """The same values give the same text, which shows none of them; another token opens nothing."""
    values = {"variables": {"A": _SECRET}}
    text = seal(values, "t" * 64)
    assert text == seal(values, "t" * 64)
    assert _SECRET not in text
    assert unseal(text, "t" * 64) == values
    for wrong in (text[:-8] + "AAAAAAA=", "%%%", ""):
        with pytest.raises(CredentialError, match="cannot be opened"):
            unseal(wrong, "t" * 64)
    with pytest.raises(CredentialError, match="another cluster"):
        unseal(text, "u" * 64)


def test_the_jobs_runner_opens_the_same_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It has its own few lines for it, because a cluster need not have this package."""
    (tmp_path / "token").write_text("t" * 64 + "\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert runner.unsealed(seal({"variables": {"A": "ü"}}, "t" * 64)) == {"A": "ü"}


def test_it_merges_with_what_is_yours(monkeypatch: pytest.MonkeyPatch):
    """Packages, variables and a hook of the user's stay; a hook that is no name is refused."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    given = {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "a2V5LW9mLWFjYw=="}
    env = azray_lab.runtime_env(
        credentials=given, pip=["x"], env_vars={"A": "1"}, worker_process_setup_hook="my.module.hook"
    )
    assert env["pip"] == ["x"]
    assert env["env_vars"]["A"] == "1"
    assert "a2V5LW9mLWFjYw" not in json.dumps(env)
    again = azray_lab.runtime_env(
        credentials=given, pip=["x"], env_vars={"A": "1"}, worker_process_setup_hook="my.module.hook"
    )
    assert env == again
    with pytest.raises(UsageError, match="no name of a function"):
        azray_lab.runtime_env(credentials=given, worker_process_setup_hook=print)


def test_without_a_cluster_there_is_nothing_to_seal_for(fresh_home: Path):
    """Neither connected nor a cluster that runs: the error says what to give."""
    del fresh_home
    with pytest.raises(UsageError, match="say which cluster"):
        azray_lab.runtime_env(credentials={"AZURE_STORAGE_ACCOUNT": "acc"})


def test_a_relay_gives_tokens_and_reasons_to_microsofts_library(monkeypatch: pytest.MonkeyPatch):
    """A token is asked for once; a refusal arrives as the error that it was; without the header nobody gets any."""
    asked = []

    def ask(sealed: str, scope: str, refused: str) -> tuple[str, int]:
        asked.append((sealed, scope, refused))
        if scope.startswith("https://vault"):
            raise CredentialError("app got no token", cause="the client secret is wrong", next_step="reset it", code=7)
        return "another" if refused else "the-token", int(time.time()) + 3600

    relay = Relay("sealed", ask)
    monkeypatch.setattr(tokens_module, "on_refusal", [relay.refused])
    found = relay.start()
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    tokens = Tokens(Identity("managed_identity"))
    for credential in (tokens, Tokens(Identity("default")), tokens):
        assert credential.get_token("https://storage.azure.com/.default").token == "the-token"
    assert asked == [("sealed", "https://storage.azure.com/.default", "")]
    assert tokens.refused("the-token")  # by the service: through the relay, too, comes another one
    assert tokens.get_token("https://storage.azure.com/.default").token == "another"
    assert asked[1:] == [("sealed", "https://storage.azure.com/.default", "the-token")]
    with pytest.raises(CredentialError) as caught:
        Tokens(Identity("managed_identity")).get_token("https://vault.azure.net/.default")
    assert str(caught.value) == "app got no token: the client secret is wrong. Next: reset it"
    assert caught.value.facts == {"code": 7}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{found['IDENTITY_ENDPOINT']}?resource=https://storage.azure.com")  # noqa: S310 - loopback


def test_a_relay_gives_what_holds_while_it_asks_for_the_next():
    """One thread renews; the others, also of other resources, do not wait; a failed renewal changes nothing yet."""
    begun, go = threading.Event(), threading.Event()

    def ask(_sealed: str, scope: str, _refused: str) -> tuple[str, int]:
        if scope.startswith("https://storage"):
            begun.set()
            assert go.wait(60)
            raise CredentialError("no token")
        if scope.startswith("https://odd"):
            raise ConnectionError("Ray's own, with a s3cret")
        return scope, int(time.time()) + 3600

    relay = Relay("sealed", ask)
    held = {"access_token": "old"}
    relay._kept["https://storage"] = _Kept(held, renew=0.0, ends=time.time() + 3600)
    answers: list[Any] = []
    renewing = threading.Thread(target=lambda: answers.append(relay.answer(relay._header, "https://storage")))
    renewing.start()
    try:
        assert begun.wait(60)
        assert relay.answer(relay._header, "https://storage") == (HTTPStatus.OK, held)
        assert relay.answer(relay._header, "https://vault")[0] == HTTPStatus.OK
    finally:
        go.set()
        renewing.join()
    assert answers == [(HTTPStatus.OK, held)]
    status, body = relay.answer(relay._header, "https://odd")
    assert status == HTTPStatus.BAD_REQUEST
    assert "cannot be asked" in body["message"]
    assert "s3cret" not in body["message"]
    assert relay.answer("ü", "https://vault")[0] == HTTPStatus.FORBIDDEN
