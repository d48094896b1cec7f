"""What is asked for: the spec's models, and how a spec is read from files, environment and flags.

`settings` is light; what needs pydantic and PyYAML is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azray_lab.spec.loading import LoadedSpec, load
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.spec.schema import json_schema

__all__ = ["ClusterSpec", "LoadedSpec", "json_schema", "load"]

_HOMES = {"ClusterSpec": "models", "LoadedSpec": "loading", "json_schema": "schema", "load": "loading"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
