"""The terminal as a face: values on stdout, everything for people on stderr."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

from azray_lab.cli.drawing import EventLines, PlainLines
from azray_lab.errors import UsageError
from azray_lab.spec import settings
from azray_lab.verbs.follow import follow
from azray_lab.verbs.watch import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from azray_lab.cli.detached import Detached
    from azray_lab.cli.drawing import Drawing
    from azray_lab.errors import AzRayError
    from azray_lab.operation import Operation, Task

T = TypeVar("T")

# How often an operation is drawn, in seconds: fast enough for the eye, slow enough for one core.
_EVERY = 0.1
# Clears the screen and goes to its first line (ECMA-48: ED, CUP).
_CLEAR = "\x1b[2J\x1b[H"
# Control sequences of ECMA-48: colours and cursor (CSI), titles and links (OSC), the two-character ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


class TerminalFace:
    """A terminal, a pipe or a program that reads JSON."""

    connects = False
    cell: str | None = None

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self.json = False
        self.events = False

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked: both stdin and stderr are terminals."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def follow(self, task: Task[T]) -> T:
        """Runs `task` and draws it on stderr, or on stdout as JSON lines with `--events`."""
        with self._drawing(task.operation) as drawing:
            return follow(task, drawing.draw, every=_EVERY)

    def _drawing(self, operation: Operation[Any]) -> Drawing:
        if self.events:
            return EventLines(operation)
        if not sys.stderr.isatty() or settings.variable("TERM") == "dumb":
            return PlainLines(operation)
        from azray_lab.cli.live import Live  # rich takes a third of the time that `azray status` may take

        return Live(operation)

    def detach(self, name: str, task: Task[T], then: Callable[[T], Any]) -> Detached:
        """Starts this command again, without `--no-wait`, in a session of its own; `task` itself is not begun here."""
        del task, then
        from azray_lab.cli.detached import detach

        return detach(name, self._words)

    def watch(self, read: Callable[[], Any], *, every: float, times: int | None) -> None:
        """Redraws the screen with each reading; prints one after the other as JSON lines, or without a terminal."""
        repeat(read, self._show_again, every=every, times=times)

    def _show_again(self, value: Any) -> None:
        if self.json:
            _print_json(plain(value))
        else:
            self.write(f"{_CLEAR if sys.stdout.isatty() else ''}{value}\n")

    def say(self, text: str) -> None:
        """Writes a line to stderr, without colours where that is no terminal."""
        print(_for(sys.stderr, text), file=sys.stderr, flush=True)  # noqa: T201 - a terminal's face prints

    def write(self, text: str) -> None:
        """Writes `text` to stdout as it is; without colours and cursor movements where that is no terminal."""
        sys.stdout.write(_for(sys.stdout, text))
        sys.stdout.flush()

    def confirm(self, question: str) -> bool:
        """Asks on the terminal; UsageError that names `--yes` when there is none."""
        if not self.interactive:
            from azray_lab.spec.uri import unsigned

            again = shlex.join(unsigned(word) for word in self._words)
            raise UsageError("this needs a yes", cause="nobody can be asked here", next_step=f"azray {again} --yes")
        import click

        return click.confirm(question, err=True)

    def assign(self, name: str, value: Any) -> NoReturn:
        """Refuses: a terminal has no variables."""
        del value
        raise UsageError(
            f"there is no variable {name!r} to set here",
            cause="-o belongs to %azray in a notebook",
            next_step="leave -o out",
        )

    def replace(self, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        """Replaces this process by `command` with `environment` added to its own; UsageError when it is not found."""
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execvpe(command[0], list(command), {**settings.process_environment(), **environment})  # noqa: S606 - no shell is wanted
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be run", cause=error.strerror or str(error)) from error

    def show(self, value: Any) -> None:
        """Prints a verb's value: one JSON document with `--json`, the last event with `--events`, else its text."""
        if self.events:
            _print_json({"event": "result", "value": plain(value)})
        elif self.json and value is not None:
            _print_json(plain(value), indent=2)
        elif value is not None:
            self.write(f"{value}\n")

    def show_error(self, error: AzRayError) -> None:
        """Prints an error as one line on stderr, and for programs as JSON on stdout."""
        # A wrong flag ends the parsing before `--json` is seen, and must answer in JSON all the same.
        unread = self._words if isinstance(error, UsageError) else []
        own = unread[: unread.index("--")] if "--" in unread else unread
        if self.events or "--events" in own:
            _print_json({"event": "error", "error": error.to_dict()})
        elif self.json or "--json" in own:
            _print_json({"error": error.to_dict()}, indent=2)
        self.say(f"azray: {error}")


def _for(stream: TextIO, text: str) -> str:
    return text if stream.isatty() else _ESCAPES.sub("", text)


def plain(value: Any) -> Any:
    """A verb's value as what JSON knows."""
    return value.to_dict() if hasattr(value, "to_dict") else value


def _print_json(value: Any, indent: int | None = None) -> None:
    # Facts may hold paths and the like: their text is what a program can use.
    print(json.dumps(value, indent=indent, default=str), flush=True)  # noqa: T201 - a terminal's face prints
