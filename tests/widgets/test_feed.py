"""The one thread that feeds everything: shared reads, pace, silence, and its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azray_lab.widgets import feed as feeding
from azray_lab.widgets.feed import Feed, quiet
from azray_lab.widgets.texts import fill

Until = Callable[[Callable[[], Any], str], Any]


class Counter:
    """A source that counts how often it is read; `stuck` holds a read back."""

    def __init__(self) -> None:
        self.reads = 0
        self.answers = True
        self.threads: set[str] = set()
        self.stuck = threading.Event()
        self.stuck.set()

    def read(self) -> bool:
        """Counts."""
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        assert self.stuck.wait(60)
        return self.answers

    def document(self) -> dict[str, Any]:
        """The count."""
        return {"reads": self.reads}


@pytest.fixture
def feed(until: Until) -> Iterator[Feed]:
    """A feed of its own, whose thread has ended when the next test begins."""
    fed = Feed()
    yield fed
    until(lambda: not fed.running, "the end of the feed's thread")


def feeders() -> list[threading.Thread]:
    """The threads that feed."""
    return [thread for thread in threading.enumerate() if thread.name == feeding.THREAD]


def test_two_cards_share_one_read_and_one_thread(feed, until: Until):
    """Both listeners of a key get the same document, read by the one thread; it ends with the last of them."""
    source = Counter()
    first: list[Any] = []
    second: list[Any] = []
    before = len(feeders())
    for got in (first, second):
        assert feed.open("a", lambda: source, got.append) is source
    other = Counter()
    third: list[Any] = []
    feed.open("b", lambda: other, third.append)
    until(lambda: first and second and third, "the first documents")
    assert len(feeders()) == before + 1
    assert source.threads | other.threads == {feeding.THREAD}
    feed.close("a", first.append)
    assert feed.running
    feed.close("a", second.append)
    feed.close("b", third.append)
    until(lambda: not feed.running, "the end of the thread")


def test_a_refresh_is_read_at_once_and_a_change_is_shown_without_a_read(feed, until: Until):
    """`refresh` reads now, also when it comes during a read; `changed` only shows what is known."""
    source = Counter()
    got: list[Any] = []
    feed.open("a", lambda: source, got.append)
    until(lambda: got, "the first document")
    reads = source.reads
    shown = len(got)
    feed.changed("a")
    until(lambda: len(got) > shown, "the second document")
    assert source.reads == reads
    source.stuck.clear()
    feed.refresh("a")
    until(lambda: source.reads == reads + 1, "the read")
    feed.refresh("a")
    source.stuck.set()
    until(lambda: source.reads == reads + 2, "the read that was asked for during a read")
    feed.close("a", got.append)


def test_pace_follows_looks_answers_and_cost(feed):
    """Nobody looks: rarely. No answer: ever more rarely. Costly reads: so rarely that they stay within their share."""
    channel = feeding._Channel(Counter())
    feed._channels["a"] = channel
    channel.looked = time.monotonic()
    assert feed._pause(channel) == feeding.WATCHED_SECONDS
    channel.failures = 2
    assert feed._pause(channel) == 4 * feeding.WATCHED_SECONDS
    channel.failures = 20
    assert feed._pause(channel) == feeding._SLOWEST_SECONDS
    channel.failures, channel.looked = 0, channel.looked - feeding.LOOK_SECONDS
    assert feed._pause(channel) == feeding.UNWATCHED_SECONDS
    channel.cost = 1.0
    feed._channels["b"] = feeding._Channel(Counter(), cost=1.0)
    assert feed._pause(channel) == 2.0 / feeding.SHARE


def test_what_nobody_has_looked_at_for_long_sleeps_until_somebody_does(feed):
    """An open tab that was forgotten costs nothing; a look wakes it."""
    now = time.monotonic()
    channel = feeding._Channel(Counter(), changed=False, looked=now - feeding.ASLEEP_SECONDS - 1)
    feed._channels["a"] = channel
    assert channel.next(now) == float("inf")
    feed.looked("a")
    assert channel.next(time.monotonic()) <= time.monotonic()


def test_a_card_that_cannot_be_shown_does_not_end_the_others(feed, until: Until):
    """A listener that fails is told of, and the next one gets its document."""
    source = Counter()
    got: list[Any] = []

    def broken(_document: Any) -> None:
        raise ConnectionError("the front end of this test is gone")

    feed.open("a", lambda: source, broken)
    feed.open("a", lambda: source, got.append)
    until(lambda: got, "the other card's document")
    assert any("front end of this test" in said for said in quiet.said)
    feed.close("a", broken)
    feed.close("a", got.append)


def test_a_source_that_cannot_say_what_it_knows_does_not_end_the_others(feed, until: Until):
    """A translation that names a field which is not there: told of, and the cards of other clusters go on."""

    class Broken(Counter):
        def document(self) -> dict[str, Any]:
            return {"said": fill({"said": "{wrong} of this test"}, "said", name="a")}

    got: list[Any] = []
    feed.open("a", Broken, got.append)
    until(lambda: any("KeyError: 'wrong'" in said for said in quiet.said), "the word of it")
    feed.open("b", Counter, got.append)
    until(lambda: got, "the other card's document")
    feed.close("a", got.append)
    feed.close("b", got.append)


def test_what_our_threads_log_reaches_no_cell(capsys):
    """A thread's warning would be printed below whichever cell ran last; it is kept for the dashboard instead."""
    log = logging.getLogger("azray_lab")
    thread = threading.Thread(target=lambda: log.warning("only for the dashboard"), name=feeding.ACTION)
    thread.start()
    thread.join()
    assert "only for the dashboard" in quiet.said
    assert capsys.readouterr() == ("", "")
