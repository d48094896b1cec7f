"""Reading a value again and again and showing it, until Ctrl-C: what `--watch` does in every face."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import click

from azray_lab.errors import UsageError

# Agents of Ray's nodes report every 2.5 s, so that more often shows nothing new of a cluster.
EVERY_SECONDS = 2.0
_MOST_SECONDS = 86_400.0


def repeat(read: Callable[[], Any], show: Callable[[Any], None], *, every: float, times: int | None) -> None:
    """Shows what `read` gives every so many seconds; ends after `times`, or quietly at an interrupt.

    The time that reading takes counts, so that the beat stays the same. What `read` raises ends it.
    """
    done, due = 0, time.monotonic()
    try:
        while True:
            show(read())
            done += 1
            if times is not None and done >= times:
                return
            due = max(due + every, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0))
    except KeyboardInterrupt:
        return


def _a_number(context: click.Context, option: click.Parameter, value: float) -> float:
    # `nan` is neither below nor above any limit.
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds", context, option)
    return value


def watch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options --watch, --every and --times of a verb; passed as `watch`, `every` and `times`."""
    times = click.option(
        "--times", type=click.IntRange(min=1), metavar="N", help="With --watch: end after N readings, not at Ctrl-C."
    )
    every = click.option(
        "--every",
        type=click.FloatRange(min=0.1, max=_MOST_SECONDS),
        callback=_a_number,
        default=EVERY_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="With --watch: how often.",
    )
    return click.option("--watch", is_flag=True, help="Read again and again until Ctrl-C.")(every(times(function)))


def check(watch: bool, times: int | None) -> None:
    """UsageError for --times without --watch."""
    if times is not None and not watch:
        raise UsageError("--times is for --watch", next_step="add --watch")
