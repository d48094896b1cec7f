"""The options with which `up` and `plan` say what is wanted, and the spec that they amount to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from azray_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azray_lab.spec.models import ClusterSpec
    from azray_lab.verbs.face import Face

R = TypeVar("R")

# Option -> the spec's key that it sets.
_KEYS = {"name": "name", "target": "target", "workers": "workers", "idle": "lease.idle", "max_age": "lease.max"}

_OPTIONS = (
    click.option("--file", "-f", type=click.Path(), help="The spec [default: azray.yaml where there is one]."),
    click.option("--name", "-n", metavar="NAME", help="The cluster's name."),
    click.option("--target", type=click.Choice(["local", "dsvm", "aks"]), help="Where it runs."),
    click.option("--workers", "-w", type=int, metavar="N", help="How many workers beside the head."),
    click.option("--idle", metavar="TIME", help="End it after so long without work, for instance 30m."),
    click.option("--max", "max_age", metavar="TIME", help="End it when it is that old, for instance 8h."),
    click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Set any key of the spec (repeatable)."),
)


def spec_options(function: Callable[..., R]) -> Callable[..., R]:
    """The options of a spec; hand them on to `read` as keywords."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read(face: Face, *, file: str | None, settings: tuple[str, ...], **options: Any) -> ClusterSpec:
    """The spec from the cell of the magic or a file, the environment and these options; SpecError when it is wrong."""
    from azray_lab.spec import load

    if face.cell is not None and file:
        raise UsageError("give the spec either in the cell or with --file, not both", next_step="leave out --file")
    return load(file, text=face.cell, **flags(options, settings)).spec


def flags(options: Mapping[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """The options that were given, as `load` takes them: by the key that each sets (`lease.idle`), and as typed."""
    given = {name: value for name, value in options.items() if value is not None}
    pairs = dict(_pair(setting) for setting in settings)
    typed = {_KEYS[name]: "--max" if name == "max_age" else f"--{name}" for name in given}
    return {
        "flags": {_KEYS[name]: value for name, value in given.items()} | pairs,
        "typed": typed | {key: f"--set {key}" for key in pairs},
    }


def _pair(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise UsageError(
            f"--set {setting!r} is not KEY=VALUE", cause="there is no '='", next_step="azray up --set head.cpus=4"
        )
    return key, value
