"""Tokens while requests are under way: renewed before they end, taken back, asked for by 64, and after a fork."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azray_lab.errors import CredentialError
from azray_lab.storage.credentials import SCOPE, Account, Identity, Tokens
from azray_lab.storage.credentials.tokens import on_refusal
from azray_lab.storage.engine import Engine
from azray_lab.storage.engine import shared as engines
from azray_lab.storage.engine.signing import Bearer
from azray_lab.storage.engine.wire import Wire
from azray_lab.testing.blob_server import run_blob_server
from azray_lab.testing.entra import run_entra
from azray_lab.testing.gate import run_gate
from azray_lab.workers.relay import Relay

if TYPE_CHECKING:
    from azray_lab.testing.entra import Entra
    from azray_lab.testing.gate import Gate

_PART = 400
_RANGES = [(start, start + _PART) for start in range(0, 1000 * _PART, _PART)]
_AT_ONCE = 64

# Since Python 3.12, where threads run.
_forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class _Clock:
    """The machine's clock, which a test sets forward."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def entra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """A fake Entra ID with one service principal, which this process trusts."""
    with run_entra(tmp_path) as server:
        server.secrets["app"] = "s3cret"
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        yield server


@pytest.fixture
def identity(entra: Entra) -> Identity:
    """The service principal."""
    variables = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "s3cret"}
    return Identity.of("service_principal", {**variables, "AZURE_AUTHORITY_HOST": entra.authority})


@pytest.fixture
def gate(entra: Entra) -> Iterator[Gate]:
    """A Blob service with a blob of 400,000 bytes, which opens to tokens only."""
    with run_blob_server() as server:
        server.seed("data", "blob", 1, bytes(range(250)), 1600)
        with run_gate(entra, server.endpoint) as running:
            yield running


def _engine(gate: Gate, tokens: Tokens) -> Engine:
    account = Account(gate.endpoint, "a test", mode="service_principal", identity=tokens.identity)
    return Engine(account, Wire(account, Bearer(account.name, tokens)))


def _read(engine: Engine) -> bool:
    return b"".join(engine.get_ranges("data", "blob", _RANGES)) == bytes(range(250)) * 1600


def _write(engine: Engine) -> bool:
    upload = engine.upload("data", "written")
    for start, end in _RANGES:
        upload.write(start, bytes(end - start))
    return upload.finish().size == 1000 * _PART


@pytest.mark.slow
@pytest.mark.parametrize("transfer", [_read, _write])
def test_a_transfer_of_many_lives_of_a_token(
    entra: Entra, gate: Gate, identity: Identity, transfer: Callable[[Engine], bool]
):
    """1,000 requests, with each of which a fifth of a second passes: none carries a token that has ended.

    A token lives two minutes here, so each is renewed after one; the clock is the service's and Entra ID's, too.
    """
    clock = entra.clock = _Clock()
    entra.lifetime = 120

    def before() -> None:
        clock.ahead += 0.2

    gate.before = before
    assert transfer(_engine(gate, Tokens(identity, clock)))
    assert gate.refused == {}
    assert gate.seen.total() >= 1000
    assert len(gate.seen) == len(entra.asked) >= 3
    assert entra.attempts == len(entra.asked)


@pytest.mark.slow
@pytest.mark.parametrize("transfer", [_read, _write])
def test_a_token_that_is_taken_back_in_the_middle(
    entra: Entra, gate: Gate, identity: Identity, transfer: Callable[[Engine], bool]
):
    """The service refuses it from the 100th request on: one new token, refused requests again, the transfer whole."""

    def before() -> None:
        if gate.seen.total() == 100:
            entra.revoked.add("token-1-of-app")

    gate.before = before
    assert transfer(_engine(gate, Tokens(identity)))
    assert [kind for kind, _, _ in entra.asked] == ["secret", "secret"]
    assert set(gate.refused) == {"revoked"}
    # Each request that was under way, once.
    assert gate.refused.total() <= _AT_ONCE
    assert gate.seen["token-2-of-app"] >= 900


def test_who_is_refused_for_every_token_asks_once_a_minute(entra: Entra, gate: Gate, identity: Identity):
    """No access is no reason to ask Entra ID at each request; the error is the service's."""
    clock = _Clock()
    engine = _engine(gate, Tokens(identity, clock))

    def before() -> None:
        entra.revoked.update(entra.ends)

    gate.before = before
    for _ in range(5):
        with pytest.raises(CredentialError, match="401 InvalidAuthenticationInfo"):
            engine.stat("data", "blob")
    assert (len(entra.asked), gate.seen.total()) == (2, 6)
    clock.ahead = 61
    with pytest.raises(CredentialError, match="401"):
        engine.stat("data", "blob")
    assert (len(entra.asked), gate.seen.total()) == (3, 8)


def _outcomes(tokens: Tokens) -> list[str]:
    """What 64 threads get that ask at the same time."""
    ready = threading.Barrier(_AT_ONCE)

    def ask() -> str:
        ready.wait(60)
        try:
            return str(tokens.get_token(SCOPE).token)
        except CredentialError as error:
            return error.cause

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [one.result() for one in [pool.submit(ask) for _ in range(_AT_ONCE)]]


def test_one_attempt_is_the_answer_to_all_who_ask(entra: Entra, identity: Identity):
    """64 requests at once cost one question, granted or refused; pauses grow to 4 s, and end with success."""
    clock = _Clock()
    clock.ahead = start = 1000.0
    tokens = Tokens(identity, lambda: clock.ahead)
    entra.refusal = "AADSTS7000222: The provided client secret keys are expired."
    asked = []
    for seconds in (0.0, 0.9, 1.1, 2.9, 3.2, 7.1, 7.3, 11.2, 11.4):
        clock.ahead = start + seconds
        (cause,) = set(_outcomes(tokens))
        assert "secret has expired" in cause
        asked.append(entra.attempts)
    assert asked == [1, 1, 2, 2, 3, 3, 4, 4, 5]
    entra.refusal = ""
    clock.ahead += 5
    entra.clock = lambda: clock.ahead
    assert set(_outcomes(tokens)) == {"token-1-of-app"}
    assert entra.attempts == 6


def test_a_token_that_holds_is_used_while_its_renewal_fails(entra: Entra, identity: Identity):
    """In the second half of its life Entra ID is asked now and then, not with each request; no request fails."""
    now = [time.time()]
    entra.clock, entra.lifetime = lambda: now[0], 280
    tokens = Tokens(identity, lambda: now[0])
    first = tokens.get_token(SCOPE)
    entra.refusal = "AADSTS90033: A transient error has occurred. Please try again."
    now[0] = first.expires_on - 138
    for _ in range(100):
        assert tokens.get_token(SCOPE).token == first.token
        now[0] += 1
    assert 6 <= entra.attempts - 1 <= 8
    entra.refusal = ""
    now[0] += 31
    assert tokens.get_token(SCOPE).token != first.token


def test_one_asks_while_the_others_use_the_token_that_holds(entra: Entra, identity: Identity):
    """Entra ID takes its time to renew: who comes meanwhile has the old token at once, and the new one afterwards."""
    now = [time.time()]
    # azure-identity itself keeps those that live longer than 5 minutes of the machine's clock.
    entra.clock, entra.lifetime = lambda: now[0], 280
    tokens = Tokens(identity, lambda: now[0])
    first = tokens.get_token(SCOPE).token
    now[0] += 150
    answer = threading.Event()
    entra.holds.append(answer)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(tokens.get_token, SCOPE)
        try:
            while entra.attempts == 1:
                assert not asking.done()
            assert {tokens.get_token(SCOPE).token for _ in range(100)} == {first}
            assert not asking.done()
        finally:
            answer.set()
        assert asking.result(60).token == tokens.get_token(SCOPE).token != first
    assert entra.attempts == 2


def _in_child(work: Callable[[], bool]) -> int:
    """The status with which a forked child ends: 0 when `work` is true, -14 when it hangs for 30 s."""
    child = os.fork()
    if not child:  # pragma: no cover - another process
        status = 1
        try:
            signal.alarm(30)
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@_forks
def test_a_child_that_is_forked_while_a_token_is_asked_for(entra: Entra, gate: Gate, identity: Identity):
    """A thread of the parent waits for Entra ID and holds the lock; the child gets a token of its own, and reads."""
    tokens = Tokens(identity)
    engine = _engine(gate, tokens)
    held = threading.Event()
    entra.holds.append(held)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(engine.stat, "data", "blob")
        try:
            while entra.attempts == 0:
                assert not waiting.done()
            assert tokens._asking.locked()
            assert _in_child(lambda: engine.get_bytes("data", "blob", 0, 3) == b"\0\1\2") == 0
            assert not waiting.done()
        finally:
            held.set()
        assert waiting.result(60) is not None
    assert len(entra.asked) == 2


@_forks
def test_a_child_that_is_forked_while_the_relay_asks(identity: Identity):
    """A thread of the parent holds the relay's lock; the child, which is refused a token, does not wait for it."""
    relay = Relay("sealed")
    on_refusal.append(relay.refused)
    try:
        with relay._lock:
            assert _in_child(lambda: Tokens(identity).refused("a token")) == 0
    finally:
        on_refusal.remove(relay.refused)


@_forks
def test_a_child_that_is_forked_while_an_engine_is_made(gate: Gate):
    """A thread of the parent holds the lock of the process's engines; the child makes its own."""
    account = Account(gate.endpoint, "a test", mode="anonymous")
    with engines._lock:
        assert _in_child(lambda: engines.engine_for(account) is engines.engine_for(account)) == 0
