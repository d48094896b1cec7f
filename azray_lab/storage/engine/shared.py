"""The engines of this process: one for each account, whose connections are shared by all who ask."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

from azray_lab.storage.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.credentials import Account

K = TypeVar("K")
V = TypeVar("V")

_engines: dict[Account, Engine] = {}
# Accounts of which nobody said how to open them, and what was found out for a container of theirs.
_settled: dict[tuple[Account, str], Account] = {}
_lock = threading.Lock()
_KEPT = 32


def engine_for(where: BlobUri | Account, environ: Mapping[str, str] | None = None) -> Engine:
    """The process's engine for the account that a URI means; its connections are shared by all who ask.

    Where nobody chose how to open the account, the first call for a container finds out (see `Account.settled`), which
    costs a token; all others cost nothing.
    """
    from azray_lab.storage.credentials import Account

    if isinstance(where, Account):
        return _shared(where)
    account = Account.of(where, environ)
    key = (account, where.container)
    found = _settled.get(key)
    if found is None:
        found = account.settled(where)
        with _lock:
            _bound(_settled)[key] = found
    return _shared(found)


def _shared(account: Account) -> Engine:
    with _lock:
        if account not in _engines:
            _bound(_engines)[account] = Engine(account)
        return _engines[account]


def _bound(kept: dict[K, V]) -> dict[K, V]:
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)))
    return kept


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent may have held it, and is not here
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
