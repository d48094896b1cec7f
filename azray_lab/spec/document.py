"""A YAML document as plain data in which every key and value remembers its line and column.

Read by the core schema of YAML 1.2.2 (section 10.3), as editors and other tools read it: `no` and `12:30` are text,
not a boolean and a number of 1.1. Anchors, aliases and `<<` work; duplicate keys and tags fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from azray_lab.errors import SpecError
from azray_lab.spec.problems import Loc, Place, Problem, dotted, spec_error

# Keys and values, far above any spec that is written by hand; aliases of aliases would grow without bound.
MAX_VALUES = 10_000
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, of which only the parser is used, with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way to hold its resolvers
    depth = count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """PyYAML's, which stops early at a text that is too much: parsing 1 MiB of brackets takes half a minute."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > MAX_DEPTH or self.count > MAX_VALUES:
            raise _TooMuchError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _TooMuchError(Exception):
    """The text holds more than any spec does."""


def resolvers() -> Iterator[tuple[str, re.Pattern[str], list[str]]]:
    """For each kind of plain scalar of YAML 1.2: its tag, its pattern, and the characters that it begins with."""
    for name, pattern, first in _RESOLVERS:
        yield _TAG + name, re.compile(f"^(?:{pattern})$"), ["" if c == "\0" else c for c in first]


for _tag, _pattern, _first in resolvers():
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


@dataclass
class Document:
    """A document's data, and the places of its values and of its keys by location."""

    data: Any
    values: dict[Loc, Place] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)


def read_document(text: str | bytes, label: str, file: str = "") -> Document:
    """The data and places of a YAML text; an empty one has the data None. SpecError with all problems otherwise.

    `label` names the text in messages (`azray.yaml`, `environment AZRAY_WORKERS`); `file` is its path where it has one.
    """
    return _Reader(label, file).read(text)


class _Reader:
    """Turns one text into a document and collects what is wrong on the way."""

    def __init__(self, label: str, file: str) -> None:
        self.label, self.file = label, file
        self.document = Document(None)
        self.problems: list[Problem] = []
        self.count = 0

    def read(self, text: str | bytes) -> Document:
        node = self._compose(text)
        if node is not None:
            self.document.data = self._value(node, ())
        if self.problems:
            raise spec_error(self.problems)
        return self.document

    def _compose(self, text: str | bytes) -> yaml.Node | None:
        content = self._decoded(text) if isinstance(text, bytes) else text
        try:
            return yaml.compose(content, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from error
        except yaml.reader.ReaderError as error:
            before = content[: error.position]
            place = self._at(before.count("\n"), len(before) - before.rfind("\n") - 1)
            raise spec_error([Problem(place, "", "a character that YAML does not allow", error.reason)]) from error
        except _TooMuchError as error:
            raise self._too_much() from error

    def _decoded(self, text: bytes) -> str:
        try:
            return text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = text[: error.start]
            place = self._at(before.count(b"\n"), len(before) - before.rfind(b"\n") - 1)
            step = "save the file as UTF-8"
            raise spec_error([Problem(place, "", "this is not UTF-8 text", error.reason, step)]) from error

    def _syntax(self, error: yaml.MarkedYAMLError) -> SpecError:
        mark = error.problem_mark or error.context_mark
        place = self._at(mark.line, mark.column) if mark else Place(self.label, file=self.file)
        cause = ", ".join(part for part in (error.context, error.problem) if part)
        tab = "\\t" in cause
        step = (
            "indent by spaces, never by tabs" if tab else "write `key: value` on a line of its own, as in `workers: 3`"
        )
        return spec_error([Problem(place, "", "this is not valid YAML", cause, step)])

    def _too_much(self) -> SpecError:
        return SpecError(
            f"{self.label} is no spec",
            cause=f"it holds more than {MAX_VALUES} values or nests deeper than {MAX_DEPTH}",
            next_step="write it without aliases of aliases and with less nesting",
            file=self.file,
        )

    def _at(self, line: int, column: int) -> Place:
        return Place(self.label, line + 1, column + 1, self.file) if self.file else Place(self.label)

    def _place(self, node: yaml.Node) -> Place:
        return self._at(node.start_mark.line, node.start_mark.column)

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(loc) > MAX_DEPTH:
            raise self._too_much()
        self.document.values[loc] = self._place(node)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(item, (*loc, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc)
        return self._tagged(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged = self._merge(value_node, loc) | merged
                continue
            key = self._key(key_node, loc)
            here = (*loc, key)
            if key in out:
                first = self.document.keys[here].line
                self._wrong(key_node, here, f"the key {key!r} stands here twice", f"first in line {first}")
                continue
            self.document.keys[here] = self._place(key_node)
            out[key] = self._value(value_node, here)
        return {key: value for key, value in merged.items() if key not in out} | out

    def _merge(self, node: yaml.Node, loc: Loc) -> dict[str, Any]:
        """The mapping, or the mappings of which the first wins, that `<<` merges in."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        out: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                self._wrong(part, loc, "`<<` merges mappings only")
                continue
            inner = _Reader(self.label, self.file)
            inner.count = self.count
            data = inner._mapping(part, loc)
            self.count = inner.count
            self.problems += inner.problems
            out = data | out
            self.document.values = inner.document.values | self.document.values
            self.document.keys = inner.document.keys | self.document.keys
        return out

    def _key(self, node: yaml.Node, loc: Loc) -> str:
        if isinstance(node, yaml.ScalarNode):
            if node.tag != _TAG + "str":
                self._wrong(node, (*loc, node.value), f"the key {node.value} is no text", "", f'write "{node.value}"')
            return self._text(node, loc)
        self._wrong(node, loc, "a key must be text", "", "write `key: value`, as in `workers: 3`")
        return ""

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "merge"):
            return self._text(node, loc)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if kind == "float":
            return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
        return self._tagged(node, loc)

    def _text(self, node: yaml.ScalarNode, loc: Loc) -> str:
        # JSON writes characters above U+FFFF as two escapes, which PyYAML leaves apart.
        try:
            return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._wrong(node, loc, "half a surrogate pair is no character", "", "write the character itself")
            return ""

    def _tagged(self, node: yaml.Node, loc: Loc) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._wrong(node, loc, f"the tag {tag} has no meaning in a spec", "", "write the plain value without a tag")

    def _wrong(self, node: yaml.Node, loc: Loc, message: str, cause: str = "", next_step: str = "keep one") -> None:
        self.problems.append(Problem(self._place(node), dotted(loc), message, cause, next_step))
