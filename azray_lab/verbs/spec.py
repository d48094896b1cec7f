"""The verbs `spec show` and `spec schema`: the spec filled in, and the schema that editors check it by."""

from __future__ import annotations

import json
from typing import Any

from azray_lab.verbs.face import Face, pass_face, verb, verb_group
from azray_lab.verbs.specs import flags, spec_options
from azray_lab.views import Table, View


@verb_group("spec", example="azray spec show -f azray.yaml\nazray spec schema > azray.schema.json")
def command() -> None:
    """Show the spec filled in, or its JSON Schema."""


@verb("show", example="azray spec show\nazray spec show -f azray.yaml --set lease.idle=30m --json")
@spec_options
@pass_face
def show(face: Face, /, *, file: str | None, settings: tuple[str, ...], **options: Any) -> Table:
    """Show every value of the spec, defaults filled in, and where it came from.

    The later wins: default, file, environment (AZRAY_WORKERS, AZRAY_LEASE__IDLE), flag.
    """
    from azray_lab.spec.loading import load
    from azray_lab.spec.writing import flow

    loaded = load(file, text=face.cell, **flags(options, settings))
    rows = [(s.key, "-" if s.value is None else flow(s.value), s.source) for s in loaded.settings]
    return Table(f"The spec of {loaded.spec.name}", ("key", "value", "source"), rows, data=loaded.to_dict())


@verb("schema", example="azray spec schema > azray.schema.json")
def schema() -> View:
    """Print the JSON Schema of azray.yaml, by which editors complete and check it.

    In VS Code and others with yaml-language-server, begin the file with the line
    `# yaml-language-server: $schema=azray.schema.json`.
    """
    from azray_lab.spec.schema import json_schema

    document = json_schema()
    return View(document, json.dumps(document, indent=2))


command.add_command(show)
command.add_command(schema)
