"""Writes docs/reference/spec.md from the models; with --check fails when the committed page is out of date."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo
from reference_page import finish  # type: ignore[import-not-found] # beside this script

from azray_lab.spec import fields, models, settings, writing
from azray_lab.spec.quantities import Duration, Size, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "spec.md"
HEAD = """# The spec: azray.yaml

<!-- Written by scripts/spec_reference.py from the models; do not edit. -->

What a cluster should be, in one file. Everything has a default: an empty file, or none, is one Ray head on this
machine. Unknown keys fail, and an error names line, column, the key that was probably meant and an example.

```yaml
name: team-a
target: local                   # local | dsvm | aks: changing this one word moves the same notebook
head: {cpus: 2}
workers:
  - {name: cpu, count: 2, cpus: 4}
  - {name: gpu, count: 1, gpus: 1, labels: {team: a}}
lease: {idle: 30m, max: 8h}
```

`azray spec show` shows the spec filled in and where each value came from. `azray spec schema` prints a JSON Schema by
which editors complete and check the file.

A file is YAML 1.2: `no` and `12:30` are text. Anchors, aliases and `<<` work; duplicate keys and tags fail.

## Who wins

Default, then the file, then the environment, then flags (`--workers 2`, `--set lease.idle=30m`), then the arguments of
a Python call (`azray_lab.up("azray.yaml", workers=2)`). Mappings are merged key by key, lists are replaced. A number of
workers over a file with one group changes that group's count. A mapping or a `ClusterSpec` given to Python is taken as
it is, without file and environment.

| in the file | in the environment | as a flag |
|---|---|---|
| `workers: 2` | `AZRAY_WORKERS=2` | `--workers 2` |
| `lease: {idle: 30m}` | `AZRAY_LEASE__IDLE=30m` | `--idle 30m` or `--set lease.idle=30m` |
| `count` of the group `gpu` | `AZRAY_WORKERS__GPU__COUNT=2` | `--set workers.gpu.count=2` |
| `env: {OMP_NUM_THREADS: "4"}` | `AZRAY_ENV__OMP_NUM_THREADS=4` | `--set env.OMP_NUM_THREADS=4` |

Durations are written like `30m`, `8h`, `1h30m` or as seconds; sizes like `2GiB`, `500MB` or as bytes.

## Settings

Beside the fields of the spec, these environment variables are read. An empty variable is an unset one.

"""
ORDER = (
    models.ClusterSpec, models.HeadSpec, models.WorkerGroup, models.GpuSpec, models.MountSpec, models.LeaseSpec,
    models.AzureSpec, models.LocalSpec,
)  # fmt: skip
QUANTITIES = {Duration: "duration", Size: "size"}
WORDS = {str: "text", int: "whole number", bool: "true or false"}


def page() -> str:
    """The whole page."""
    table = [line for line in (settings.__doc__ or "").splitlines() if line.startswith("|")]
    return HEAD + "\n".join(table) + "\n\n" + "\n".join(section(model) for model in ORDER)


def section(model: type[BaseModel]) -> str:
    """The heading, the description and the table of one model."""
    lines = [f"## {model.__name__}", "", inspect.cleandoc(model.__doc__ or ""), ""]
    lines += ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    lines += [row(name, info) for name, info in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def row(name: str, info: FieldInfo) -> str:
    """One field as a row of the table."""
    cells = (f"`{name}`", kind(info), default(info), info.description or "", f"`{fields.example(name, info)}`")
    return "| " + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells) + " |"


def kind(info: FieldInfo) -> str:
    """What may stand there, in words, with its limits."""
    if (quantity := QUANTITIES.get(essence(info.annotation))) is None:
        return named(info.annotation) + limits([*info.metadata, *getattr(essence(info.annotation), "__metadata__", ())])
    least = next((m.ge for m in info.metadata if isinstance(m, Ge)), None)
    return quantity + (f" from {format_size(least)}" if isinstance(least, int) else "")


def limits(metadata: list[Any]) -> str:
    """The least and the largest value in words."""
    flat = [one for m in metadata for one in (m.metadata if isinstance(m, FieldInfo) else [m])]
    least = next((f" from {m.ge}" for m in flat if isinstance(m, Ge)), "")
    return least + next((f" to {m.le}" for m in flat if isinstance(m, Le)), "")


def essence(annotation: Any) -> Any:
    """An annotation without `| None`, with what it is annotated by."""
    parts = [a for a in typing.get_args(annotation) if a is not types.NoneType]
    return parts[0] if fields.optional(annotation) else annotation


def named(annotation: Any) -> str:
    """An annotation in words; models are linked."""
    inner = fields.core(annotation)
    if model := fields.model(inner):
        return f"[{model.__name__}](#{model.__name__.lower()})"
    arguments = typing.get_args(inner)
    words: dict[Any, Callable[[], str]] = {
        typing.Literal: lambda: " or ".join(f"`{choice}`" for choice in arguments),
        tuple: lambda: f"list of {named(arguments[0])}",
        dict: lambda: f"mapping of text to {named(arguments[1])}",
    }
    if typing.get_origin(inner) in {typing.Union, types.UnionType}:
        return " or ".join(named(argument) for argument in arguments)
    return words.get(typing.get_origin(inner), lambda: WORDS[inner])()


def default(info: FieldInfo) -> str:
    """The default, or that there is none."""
    if info.is_required():
        return "needed"
    value = info.default
    if value is None or value in ((), {}) or not isinstance(value, (str, int, float, types.NoneType)):
        return "none" if value is None else "empty"
    return f"`{writing.flow(value)}`"


if __name__ == "__main__":
    sys.exit(finish(PAGE, page()))
