"""What a verb sees of the face that called it, and how a verb is declared.

A verb is a function that takes the face first, calls the session layer and returns its value. A value has `to_dict()`
and `__str__`, and where it helps `_repr_html_` and `exit_code`; the face shows it.
"""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import click

from azray_lab.errors import AzRayError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from click.shell_completion import CompletionItem

    from azray_lab.operation import Task

    # Generic in the stubs only: older clicks have no ParamType[...] at run time.
    NameType = click.ParamType[str]
else:
    NameType = click.ParamType

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class Face(Protocol):
    """A terminal, a notebook or a program that reads JSON, as a verb sees it."""

    json: bool
    """Whether one JSON document is wanted on stdout."""
    events: bool
    """Whether the events of operations are wanted on stdout, one JSON object a line."""
    connects: bool
    """Whether this process is the one that uses the cluster (a kernel), so that `up` connects it."""
    cell: str | None
    """The body of a `%%azray` cell; None in a terminal and for `%azray`."""

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        ...

    def follow(self, task: Task[T]) -> T:
        """Runs `task`, draws its events until it ends and returns its result; Ctrl-C cancels it and cleans up."""
        ...

    def detach(self, name: str, task: Task[T], then: Callable[[T], Any]) -> Any:
        """Lets `task` of cluster `name` go on by itself and returns at once what stands for it.

        `then` is applied to the result by whoever asks for it, in the thread that asks.
        """
        ...

    def watch(self, read: Callable[[], Any], *, every: float, times: int | None) -> None:
        """Shows what `read` gives, again every so many seconds, until an interrupt or `times` readings."""
        ...

    def say(self, text: str) -> None:
        """Tells people something that is not the verb's value (stderr in a terminal)."""
        ...

    def write(self, text: str) -> None:
        """Writes the verb's own raw output, such as logs, to stdout as it is."""
        ...

    def confirm(self, question: str) -> bool:
        """Asks yes or no; UsageError that names `--yes` when nobody can be asked."""
        ...

    def assign(self, name: str, value: Any) -> None:
        """Gives the user's namespace a variable (`-o name`); UsageError where there is no namespace."""
        ...

    def replace(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Replaces this process by `command`; UnsupportedError where that cannot be (a kernel)."""
        ...


def pass_face(function: Callable[Concatenate[Face, P], R]) -> Callable[P, R]:
    """Gives the calling face to a verb's function as its first argument."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(cast("Face", click.get_current_context().obj), *args, **kwargs)

    return wrapper


def _switch(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    """A callback of an option that switches the face's attribute `name` on."""

    def callback(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            setattr(context.obj, name, True)

    return callback


def _options(function: Callable[..., Any], *, events: bool) -> Callable[..., Any]:
    if events:
        function = click.option(
            "--events",
            is_flag=True,
            expose_value=False,
            callback=_switch("events"),
            help="Print each event as a line of JSON; the last one is the result.",
        )(function)
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_switch("json"),
        help="Print one JSON document; text for people goes to stderr.",
    )(function)


def verb(
    name: str, *, example: str, events: bool = False, **settings: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Declares a verb: a click command with `--json` (and `--events` for a long one) and `example` in its help.

    `settings` go to click.Command, for instance `context_settings`.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        declare: Callable[..., click.Command] = click.command(name, epilog=_epilog(example), **settings)
        return declare(_options(function, events=events))

    return decorate


def verb_group(name: str, *, example: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Group]:
    """Declares a verb that has verbs below it (`azray jobs stop`); those are added with `add_command`.

    With `invoke_without_command=True` the group itself takes `--json` and returns a value.
    """

    def decorate(function: Callable[..., Any]) -> click.Group:
        if settings.get("invoke_without_command"):
            function = _options(function, events=False)
        declare: Callable[..., click.Group] = click.group(name, cls=VerbGroup, epilog=_epilog(example), **settings)
        return declare(function)

    return decorate


def _epilog(example: str) -> str:
    # \b keeps click from joining the lines.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.strip().splitlines())


class VerbGroup(click.Group):
    """A click group whose error for an unknown verb is ours and names the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click's, for a verb that is known."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known and not ctx.resilient_parsing:
            raise UnknownNameError(
                f"there is no verb {args[0]!r}",
                cause=hint(args[0], known),
                next_step=f"{ctx.command_path} --help",
                name=args[0],
                known=known,
            )
        return super().resolve_command(ctx, args)


def hint(name: str, known: Iterable[str]) -> str:
    """`the nearest is 'x'`, or an empty string when nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"the nearest is {matches[0]!r}" if matches else ""


class ClusterName(NameType):
    """The name of a cluster; completed from the names in the registry, never by asking a cluster."""

    name = "cluster"

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The registered names that begin with `incomplete`."""
        from click.shell_completion import CompletionItem

        from azray_lab import registry

        try:
            known = registry.names()
        except AzRayError:  # a TAB has nowhere to say that the registry cannot be read; the verb will
            return []
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


CLUSTER = ClusterName()


def cluster_argument(*, required: bool = True) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The argument NAME, a cluster's name; passed as `name`."""
    return click.argument("name", metavar="NAME" if required else "[NAME]", type=CLUSTER, required=required)


def log_to_driver_option() -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The option --log-to-driver of a verb that connects a kernel; passed as `connecting`, for `Cluster.connect`."""
    return click.option(
        "connecting",
        "--log-to-driver/--no-log-to-driver",
        default=None,
        callback=lambda _context, _parameter, value: {} if value is None else {"log_to_driver": value},
        help="Whether this notebook repeats what tasks and actors print [default: yes]; `azray logs` shows it anyway.",
    )


def cluster_option() -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The option --cluster NAME; passed as `cluster`, None when it is not given (then see `verbs.clusters.find`)."""
    return click.option(
        "--cluster", "-c", metavar="NAME", type=CLUSTER, help="The cluster; not needed when there is only one."
    )
