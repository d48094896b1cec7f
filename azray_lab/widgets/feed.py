"""The one background thread of a kernel that feeds every card, dashboard and chart in it.

Whoever shows something opens a channel: a source that is read now and then, and listeners that get what it amounts to.
Two cards of one cluster share a channel, so they agree and cost one read. The thread ends with the last channel.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from azray_lab.widgets.texts import say

# How often a source is read while somebody looks, and while nobody does (seconds).
WATCHED_SECONDS = 2.0
UNWATCHED_SECONDS = 15.0
# A front end says every 10 s that it shows something; after this silence nobody looks (a closed tab says nothing).
LOOK_SECONDS = 30.0
# What nobody has looked at for so long is read no more until somebody looks again.
ASLEEP_SECONDS = 900.0
# The share of one core that all reads together may take; the other half of one percent is for sending what they found.
SHARE = 0.005
# A source that does not answer is asked less and less often, up to this pause.
_SLOWEST_SECONDS = 60.0
# Who looks hears from us this often, whatever the reads take.
_BEAT_SECONDS = 5.0
# Changes that come in bursts (events of an operation) are shown together.
_BURST_SECONDS = 0.1
THREAD = "azray-feed"
ACTION = "azray-action"

Document = Mapping[str, Any]
Listener = Callable[[Document], None]


class Source(Protocol):
    """What a channel shows: `read` asks for the truth, `document` is what is known, as plain JSON."""

    def read(self) -> bool:
        """Reads once, within a deadline of seconds; False when nothing answered. Raises nothing of ours."""
        ...

    def document(self) -> Document:
        """What is known now; costs next to nothing."""
        ...


@dataclass
class _Channel:
    """A source, who listens, and when it is due. Times are those of `time.monotonic`."""

    source: Source
    listeners: list[Listener] = field(default_factory=list)
    due: float = 0.0
    changed: bool = True
    looked: float = 0.0
    shown: float = 0.0
    cost: float = 0.0
    failures: int = 0

    def next(self, now: float) -> float:
        """When it wants its turn; never when nobody has looked for long."""
        if self.changed:
            return self.shown + _BURST_SECONDS
        if now - self.looked > ASLEEP_SECONDS:
            return float("inf")
        return min(self.due, self.shown + _BEAT_SECONDS) if now - self.looked < LOOK_SECONDS else self.due


class Feed:
    """The channels, and the thread that reads them. Every method is safe from any thread."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel] = {}
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self.turns = 0
        """How many reads there have been, for tests and figures."""

    def open(self, key: str, make: Callable[[], Source], listener: Listener) -> Source:
        """Adds a listener to the channel `key`, made when there is none; it is called from the feed's thread."""
        with self._wake:
            channel = self._channels.get(key)
            if channel is None:
                channel = self._channels[key] = _Channel(make(), looked=time.monotonic())
            channel.listeners.append(listener)
            channel.due, channel.changed = 0.0, True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()
            self._wake.notify()
            return channel.source

    def close(self, key: str, listener: Listener) -> None:
        """Takes a listener away, and the channel with the last one."""
        with self._wake:
            channel = self._channels.get(key)
            if channel and listener in channel.listeners:
                channel.listeners.remove(listener)
                if not channel.listeners:
                    del self._channels[key]
                self._wake.notify()

    def source(self, key: str) -> Source | None:
        """The source of an open channel."""
        with self._wake:
            channel = self._channels.get(key)
            return channel.source if channel else None

    def changed(self, key: str) -> None:
        """What is known of a source has changed: show it at once."""
        self._mark(key, changed=True)

    def refresh(self, key: str) -> None:
        """Something was done: read the source now."""
        self._mark(key, due=0.0, failures=0)

    def looked(self, key: str) -> None:
        """A front end shows it: read it at the pace of somebody who looks."""
        now = time.monotonic()
        with self._wake:
            channel = self._channels.get(key)
            asleep = channel is not None and now - channel.looked > LOOK_SECONDS
        self._mark(key, looked=now, **({"due": 0.0} if asleep else {}))

    def _mark(self, key: str, **values: Any) -> None:
        with self._wake:
            if channel := self._channels.get(key):
                for name, value in values.items():
                    setattr(channel, name, value)
                self._wake.notify()

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    # The thread.

    def _run(self) -> None:
        while (channel := self._next()) is not None:
            self._turn(channel)

    def _next(self) -> _Channel | None:
        """Waits for the channel that is due first; None when there is none left, and then the thread is over."""
        with self._wake:
            while self._channels:
                now = time.monotonic()
                channel = min(self._channels.values(), key=lambda each: each.next(now))
                pause = channel.next(now) - now
                if pause <= 0:
                    return channel
                self._wake.wait(min(pause, ASLEEP_SECONDS))
            self._thread = None
            return None

    def _turn(self, channel: _Channel) -> None:
        """Reads the source when it is due, and shows what is known."""
        began = time.thread_time()
        if channel.due <= time.monotonic():
            # Read before it is set: a refresh that comes during the read asks for one more.
            channel.due = float("inf")
            self.turns += 1
            answered = _read(channel.source)
            channel.failures = 0 if answered else min(channel.failures + 1, 8)
            channel.cost = time.thread_time() - began
            with self._wake:
                if channel.due == float("inf"):
                    channel.due = time.monotonic() + self._pause(channel)
        self._show(channel)

    def _pause(self, channel: _Channel) -> float:
        watched = time.monotonic() - channel.looked < LOOK_SECONDS
        calm = WATCHED_SECONDS if watched else UNWATCHED_SECONDS
        slowed = min(calm * (1 << channel.failures), _SLOWEST_SECONDS)
        # With this pause after each read, the reads of all channels together stay within their share.
        return max(slowed, sum(c.cost for c in list(self._channels.values())) / SHARE)

    def _show(self, channel: _Channel) -> None:
        with self._wake:
            channel.changed, channel.shown = False, time.monotonic()
            listeners = tuple(channel.listeners)
        try:
            document = channel.source.document()
        except Exception as error:  # noqa: BLE001 - as below: a bug, or a translation that lacks a field
            _cannot_show(error)
            return
        for listener in listeners:
            try:
                listener(document)
            except Exception as error:  # noqa: BLE001 - one card whose front end is gone must not end the others
                _cannot_show(error)


def _read(source: Source) -> bool:
    """Reads a source; a bug in it must not end the thread that feeds the others."""
    try:
        return source.read()
    except Exception as error:  # noqa: BLE001 - told in the dashboard
        quiet.keep(say("feed.read", error=f"{type(error).__name__}: {error}"))
        return False


def _cannot_show(error: Exception) -> None:
    quiet.keep(say("feed.show", error=f"{type(error).__name__}: {error}"))


class _Quiet(logging.Filter):
    """Keeps what our threads log out of the cells: a thread's words would land in whichever cell ran last."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record of one of our threads, which is kept in `said`."""
        ours = record.threadName is not None and record.threadName.startswith((THREAD, ACTION))
        if ours:
            self.keep(record.getMessage())
        return not ours

    def keep(self, text: str) -> None:
        """Keeps what was said, the last five of it; the dashboard shows it."""
        if text not in self.said:
            self.said = [*self.said[-4:], text]


quiet = _Quiet()
logging.getLogger("azray_lab").addFilter(quiet)
_feed = Feed()


def feed() -> Feed:
    """The feed of this kernel."""
    return _feed
