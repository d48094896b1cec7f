"""Operations: a long piece of work seen as a stream of events, with stages, a timeline and cancellation.

Work is a function that takes an `Operation`, reports through it and waits only through it, so that progress, deadlines
and cancellation have one implementation. Faces subscribe and draw; `fold` turns events into the rows that they draw.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from azray_lab.errors import AzRayError, CancelledError, DeadlineError

Kind = Literal["started", "progress", "waiting", "done", "failed", "note", "result", "error"]
T = TypeVar("T")
V = TypeVar("V")

# Called with each operation that begins in this process, in the thread that does its work; for faces that show live
# what goes on, whoever began it.
watchers: list[Callable[[Operation[Any]], None]] = []

# A wait that is over sooner than this is not worth telling anyone.
_QUIET_SECONDS = 0.5


@dataclass(frozen=True)
class Event:
    """One thing that happened: `seconds` since the operation began, `fraction` 0..1 where it is known."""

    kind: Kind
    stage: str
    seconds: float
    message: str = ""
    fraction: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The event as the plain JSON object that `--events` prints, one a line."""
        out: dict[str, Any] = {"event": self.kind, "stage": self.stage, "seconds": round(self.seconds, 3)}
        if self.message:
            out["message"] = self.message
        if self.fraction is not None:
            out["fraction"] = round(self.fraction, 4)
        return out | dict(self.data)


@dataclass(frozen=True)
class Timing:
    """How long one finished stage took, in seconds."""

    stage: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """A stage as a face draws it: its state, how long it has taken, and how long it took before."""

    stage: str
    state: Literal["running", "done", "failed"]
    began: float
    ended: float | None = None
    message: str = ""
    fraction: float | None = None
    expected: float | None = None


def fold(events: Iterable[Event], expected: Mapping[str, float] | None = None) -> list[Row]:
    """The rows that `events` amount to, in order of their start; `expected` gives each stage's usual seconds."""
    rows: dict[str, Row] = {}
    usual = expected or {}
    for event in events:
        if event.kind == "started":
            rows[event.stage] = Row(
                event.stage, "running", event.seconds, message=event.message, expected=usual.get(event.stage)
            )
        elif event.stage in rows:
            rows[event.stage] = _advance(rows[event.stage], event)
    return list(rows.values())


def _advance(row: Row, event: Event) -> Row:
    if event.kind == "done":
        # What it waited for is over, so only a summary stays.
        return replace(row, state="done", ended=event.seconds, message=event.message, fraction=None)
    if event.kind == "failed":
        return replace(row, state="failed", ended=event.seconds, message=event.message)
    if event.kind in {"progress", "waiting"}:
        return replace(row, message=event.message or row.message, fraction=event.fraction)
    return row


def timeline(events: Iterable[Event]) -> tuple[Timing, ...]:
    """How long each finished stage took, in the order in which they began."""
    return tuple(Timing(r.stage, round(r.ended - r.began, 3)) for r in fold(events) if r.ended and r.state == "done")


class Stage:
    """The running stage of an operation, as the work sees it."""

    def __init__(self, operation: Operation[Any], name: str) -> None:
        self._operation = operation
        self.name = name
        self.summary = ""

    def progress(self, fraction: float | None = None, message: str = "", **data: Any) -> None:
        """Reports how far the stage is (`fraction` 0..1, None when unknown)."""
        self._operation.emit("progress", self.name, message, fraction=fraction, **data)

    def waiting(self, reason: str) -> None:
        """Reports what the stage is waiting for."""
        self._operation.emit("waiting", self.name, reason)


class Operation(Generic[T]):
    """One long piece of work: run it here (`run`) or in a thread (`start`), follow its events, cancel it.

    `expected` maps stage names to the seconds they took before; faces show it as the time left. `subject` is the name
    of the cluster that it works on, where there is one; `began` is when it was made (seconds since 1970). An operation
    runs once.
    """

    def __init__(self, name: str, *, expected: Mapping[str, float] | None = None, subject: str = "") -> None:
        self.name = name
        self.subject = subject
        self.expected: dict[str, float] = dict(expected or {})
        self.began = time.time()
        self._began = time.monotonic()
        self._events: list[Event] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.RLock()
        self._cancel = threading.Event()
        self._cancel_reason = ""
        self._cancel_sources: list[Callable[[], str | None]] = []
        self._when_cancelled: list[Callable[[], None]] = []
        self._shielded = 0
        self._finished = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    # What the work calls.

    def emit(self, kind: Kind, stage: str = "", message: str = "", fraction: float | None = None, **data: Any) -> None:
        """Records an event and hands it to every listener, in this thread."""
        with self._lock:
            event = Event(kind, stage, time.monotonic() - self._began, message, fraction, data)
            self._events.append(event)
            for listener in self._listeners:
                listener(event)

    def note(self, message: str, **data: Any) -> None:
        """Tells something worth knowing that is no stage: a warning, a choice made."""
        self.emit("note", "", message, **data)

    @contextlib.contextmanager
    def stage(self, name: str, message: str = "") -> Iterator[Stage]:
        """A named stage: `started` at entry, `done` or `failed` (with the error's words) at exit."""
        self.check()
        self.emit("started", name, message)
        current = Stage(self, name)
        try:
            yield current
        except BaseException as error:
            told = self._told(error)
            self.emit("failed", name, str(told) or type(told).__name__)
            if told is error:
                raise
            raise told from error
        self.emit("done", name, current.summary)

    def check(self) -> None:
        """Raises CancelledError when the operation was cancelled; long loops call it at each turn."""
        if self._shielded:
            return
        for source in self._cancel_sources:
            if (reason := source()) is not None:
                self.cancel(reason)
        if self._cancel.is_set():
            raise CancelledError(f"{self.name} was cancelled", cause=self._cancel_reason)

    def _told(self, error: BaseException) -> BaseException:
        """The error; where it only says that something was ended because this was cancelled, one that says why."""
        if not isinstance(error, CancelledError) or error.cause or not self._cancel.is_set():
            return error
        return CancelledError(f"{self.name} was cancelled", cause=self._cancel_reason)

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Cancellation waits until the block ends: for cleaning up, which must not be cut short."""
        self._shielded += 1
        try:
            yield
        finally:
            self._shielded -= 1
            self._tell_cancelled()

    def cancel_when(self, source: Callable[[], str | None]) -> None:
        """Adds a source of cancellation: `source()` returns a reason to cancel or None; asked at every wait."""
        self._cancel_sources.append(source)

    def on_cancel(self, act: Callable[[], None]) -> None:
        """Calls `act` once, from any thread, when it is cancelled, or behind `shielded`: to end what blocks a wait."""
        with self._lock:
            self._when_cancelled.append(act)
        self._tell_cancelled()

    def _tell_cancelled(self) -> None:
        with self._lock:
            if not self._cancel.is_set() or self._shielded:
                return
            acts, self._when_cancelled = self._when_cancelled, []
        for act in acts:
            act()

    def wait_for(
        self,
        check: Callable[[], V | None],
        *,
        reason: str | Callable[[], str],
        seconds: float,
        stage: str = "",
        interval: float = 0.02,
        next_step: str = "",
    ) -> V:
        """Polls `check` until it returns something true, and returns that.

        The only way in which an operation waits: ends with DeadlineError after `seconds`, with CancelledError when
        cancelled, and tells `reason` when it lasts. `interval` (seconds) doubles up to 0.25 s.
        """
        began, told = time.monotonic(), False
        while True:
            self.check()
            if value := check():
                return value
            waited = time.monotonic() - began
            words = reason if isinstance(reason, str) else reason()
            if waited > seconds:
                raise DeadlineError(
                    f"{self.name} gave up after {seconds:g} s of waiting",
                    cause=words,
                    next_step=next_step,
                    seconds=seconds,
                )
            if not told and waited > _QUIET_SECONDS:
                told = True
                self.emit("waiting", stage, words)
            self._pause(min(interval, max(seconds - waited, 0.001)))
            interval = min(interval * 1.5, 0.25)

    def _pause(self, seconds: float) -> None:
        # A shielded wait must really pause although the cancel event is already set.
        if self._shielded:
            time.sleep(seconds)
        else:
            self._cancel.wait(seconds)

    # What faces and callers call.

    @property
    def events(self) -> tuple[Event, ...]:
        """What has happened so far."""
        with self._lock:
            return tuple(self._events)

    @property
    def timeline(self) -> tuple[Timing, ...]:
        """How long each finished stage took."""
        return timeline(self.events)

    @property
    def done(self) -> bool:
        """Whether the work has ended, in whatever way."""
        return self._finished.is_set()

    @property
    def elapsed(self) -> float:
        """Seconds since the operation was made."""
        return time.monotonic() - self._began

    @property
    def expected_seconds(self) -> float | None:
        """How long the whole is expected to take, from earlier runs; None when there was none."""
        return sum(self.expected.values()) if self.expected else None

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Calls `listener` with every event, those of the past first. It runs in the thread that does the work."""
        with self._lock:
            for event in self._events:
                listener(event)
            self._listeners.append(listener)

    def cancel(self, reason: str = "interrupted") -> None:
        """Asks the work to stop at its next wait or stage and ends what blocks it (`on_cancel`); returns at once."""
        self._cancel_reason = self._cancel_reason or reason
        self._cancel.set()
        self._tell_cancelled()

    def run(self, work: Callable[[Operation[T]], T]) -> T:
        """Does `work` in this thread and returns its result. Ctrl-C ends it with CancelledError after its clean-up."""
        for watcher in watchers:
            watcher(self)
        try:
            self._value = work(self)
        except KeyboardInterrupt as error:
            self._error = CancelledError(f"{self.name} was cancelled", cause="interrupted")
            self._error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - kept whole for `result`, which raises it again
            self._error = self._told(error)
        self._close()
        return self.result()

    def start(self, work: Callable[[Operation[T]], T]) -> Operation[T]:
        """Does `work` in a background thread and returns this operation; `result` waits for it."""

        def body() -> None:
            with contextlib.suppress(BaseException):  # `result` raises it in the thread that asks
                self.run(work)

        threading.Thread(target=body, name=f"azray-{self.name}", daemon=True).start()
        return self

    def _close(self) -> None:
        if isinstance(self._error, AzRayError):
            self.emit("error", "", str(self._error), error=self._error.to_dict())
        elif self._error is not None:
            self.emit("error", "", f"{type(self._error).__name__}: {self._error}")
        else:
            self.emit("result", "", "")
        self._finished.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the work has ended, at most `timeout` seconds; True when it has."""
        return self._finished.wait(timeout)

    def result(self, timeout: float | None = None) -> T:
        """The result, or the error raised again; DeadlineError when it has not ended after `timeout` seconds."""
        if not self._finished.wait(timeout):
            raise DeadlineError(f"{self.name} has not ended", cause=f"waited {timeout:g} s", seconds=timeout)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # T may itself allow None


@dataclass(frozen=True)
class Task(Generic[T]):
    """An operation together with its work: what the session layer hands to a face that wants to draw it."""

    operation: Operation[T]
    work: Callable[[Operation[T]], T]

    def run(self) -> T:
        """Does the work in this thread and returns its result."""
        return self.operation.run(self.work)

    def start(self) -> Operation[T]:
        """Does the work in a background thread and returns the operation."""
        return self.operation.start(self.work)
