"""The spec as JSON Schema, for editors that complete and check `azray.yaml`."""

from __future__ import annotations

import inspect
from typing import Any

from azray_lab.spec.models import ClusterSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER = "urn:azray-lab:azray.yaml"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a spec's file, short forms such as `workers: 3` included.

    It says all that can be said of one value; checks across values (`min` above `max`) are made on loading only.
    """
    schema = ClusterSpec.model_json_schema(mode="validation")
    return {
        "$schema": DIALECT,
        "$id": IDENTIFIER,
        "title": "AzRay Lab cluster spec (azray.yaml)",
        "description": inspect.cleandoc(ClusterSpec.__doc__ or ""),
        **{key: _untitled(value) for key, value in schema.items() if key not in ("title", "description")},
    }


def _untitled(value: Any) -> Any:
    """`value` without the titles that pydantic makes of names; editors would show them instead of the description."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if not (key == "title" and isinstance(inner, str))}
        return {key: _untitled(inner) for key, inner in kept.items()}
    return [_untitled(item) for item in value] if isinstance(value, list) else value
