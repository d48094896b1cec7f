"""Plain data as the YAML of a spec, which every reader takes for the same data."""

from __future__ import annotations

from typing import Any

import yaml

from azray_lab.spec.document import resolvers

# YAML 1.1 calls these line breaks beside \n (section 5.4); YAML 1.2 does not.
_LINE_ENDS = frozenset("\r\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """PyYAML's, which quotes what YAML 1.1 takes for a number or a boolean; this one also what YAML 1.2 does."""


for _tag, _pattern, _first in resolvers():
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # In any other style PyYAML breaks the line at these, and reads the break as a space.
    style = '"' if _LINE_ENDS & set(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(data: Any) -> str:
    """`data` (mappings, lists, text, numbers) as YAML in the order given, which `load` reads as the same data.

    Text that YAML 1.1 or 1.2 would read as something else is quoted: `'no'`, `'12:30'`, `'0E0'`.
    """
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


def flow(value: Any) -> str:
    """A value as YAML on one line, for messages and tables."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10_000, sort_keys=False)
    return text.strip().removesuffix("...").strip()
