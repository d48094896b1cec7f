"""The spec's models as a tree of settings that a form can show, and each value as the text that people type.

Nothing here names a field but `BASIC` and `ONLY`; a field that is added to the models stands in the form by itself,
among the advanced ones.
"""

from __future__ import annotations

import contextlib
import json
import re
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.errors import SpecError
from azray_lab.spec import fields
from azray_lab.spec.document import read_document
from azray_lab.spec.models import ClusterSpec
from azray_lab.spec.writing import flow
from azray_lab.widgets.form_texts import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Kind = Literal["choice", "switch", "text", "list", "mapping"]

# What a first cluster needs; everything else is folded away until it is asked for.
BASIC = frozenset(
    {"name", "target", "head.cpus", "head.gpus.count", "workers.name", "workers.count", "workers.cpus"}
    | {"workers.gpus.count", "workers.gpus.type", "mounts.uri", "mounts.path", "mounts.profile"}
    | {"lease.idle", "lease.max"}
)
# Which targets use a setting, where not all do; a section stands for what is in it.
ONLY: dict[str, tuple[str, ...]] = {
    "head.vm_size": ("dsvm", "aks"),
    "workers.vm_size": ("dsvm", "aks"),
    "workers.gpu": ("dsvm", "aks"),
    "workers.spot": ("dsvm", "aks"),
    "azure": ("dsvm", "aks"),
    "local": ("local",),
}
# Text that stands in a line of `key: value` as it is.
_PLAIN = re.compile(r"[^\s'\"\x00-\x1f\x7f](?:[^\x00-\x1f\x7f\x85\u2028\u2029]*[^\s\x00-\x1f\x7f])?")
_PLAIN_KEY = re.compile(r"[^\s\"'=][^\s=]*")
_SPLIT = re.compile(r": |:$|=")

MISSING: Any = object()
"""What a setting reads as when nothing was typed."""


@dataclass(frozen=True)
class Setting:
    """One value: `key` without indices (`workers.cpus`), how it is shown, and what `choice` offers."""

    key: str
    annotation: Any
    info: FieldInfo
    kind: Kind
    choices: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The key in its section."""
        return self.key.rpartition(".")[2]

    @property
    def basic(self) -> bool:
        """Whether it is always shown."""
        return self.key in BASIC

    @property
    def default(self) -> Any:
        """The default as JSON; None where there is none."""
        return None if self.info.is_required() else self.info.default

    @property
    def example(self) -> str:
        """An example as people type it; empty where the field has none."""
        return text_of(self, self.info.examples[0]) if self.info.examples else ""


@dataclass(frozen=True)
class Section:
    """Settings that belong together; `key` is empty for the whole spec."""

    key: str
    info: FieldInfo | None
    parts: tuple[Setting | Section | Many, ...]

    @property
    def name(self) -> str:
        """The key in its section."""
        return self.key.rpartition(".")[2]

    @property
    def basic(self) -> bool:
        """Whether any of it is always shown."""
        return any(part.basic for part in self.parts)


@dataclass(frozen=True)
class Many:
    """A list of sections, as worker groups are."""

    key: str
    info: FieldInfo
    item: Section

    @property
    def name(self) -> str:
        """The key in its section."""
        return self.key

    @property
    def basic(self) -> bool:
        """Whether any of it is always shown."""
        return self.item.basic


def tree(model: type[BaseModel] = ClusterSpec, key: str = "", info: FieldInfo | None = None) -> Section:
    """The settings of a model, in the order of its fields."""
    prefix = f"{key}." if key else ""
    parts = (_part(prefix + name, found) for name, found in model.model_fields.items())
    return Section(key, info, tuple(parts))


def _part(key: str, info: FieldInfo) -> Setting | Section | Many:
    annotation = info.annotation
    if found := fields.model(annotation):
        return tree(found, key, info)
    if fields.is_list(annotation) and (item := fields.model(fields.child(annotation, 0))):
        return Many(key, info, tree(item, key, info))
    kind, choices = _kind(annotation)
    return Setting(key, annotation, info, kind, choices)


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    kind = fields.core(annotation)
    optional = (None,) if fields.optional(annotation) else ()
    if typing.get_origin(kind) is Literal:
        return "choice", (*optional, *typing.get_args(kind))
    if kind is bool:
        return ("choice", (None, True, False)) if optional else ("switch", ())
    if fields.is_mapping(annotation):
        return "mapping", ()
    texts = fields.is_list(annotation) and fields.takes_text(fields.child(annotation, 0))
    return ("list" if texts else "text"), ()


def targets_of(key: str) -> tuple[str, ...]:
    """The targets that use a setting; empty when all do."""
    return next((names for start, names in ONLY.items() if key == start or key.startswith(f"{start}.")), ())


def settings_of(section: Section) -> Iterable[Setting]:
    """All settings of a section and of what is in it."""
    for part in section.parts:
        if isinstance(part, Setting):
            yield part
        else:
            yield from settings_of(part.item if isinstance(part, Many) else part)


# Values as people type them.


def text_of(setting: Setting, value: Any) -> str:
    """A value (as JSON) as it stands in the form's field; empty for None."""
    if value is None:
        return ""
    if setting.kind == "mapping" and isinstance(value, dict):
        return "\n".join(f"{_key_text(key)}: {_item_text(setting, inner)}" for key, inner in value.items())
    if setting.kind == "list":
        return value if isinstance(value, str) else ", ".join(map(str, value))
    return str(value) if fields.takes_text(setting.annotation) else _line(value)


def _key_text(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)


def _line(value: Any) -> str:
    """A value as YAML on one line; text with line ends in JSON's form, which YAML reads as well."""
    text = flow(value)
    return text if text.isprintable() else json.dumps(value)


def _item_text(setting: Setting, value: Any) -> str:
    if not fields.takes_text(fields.child(setting.annotation, "")):
        return _line(value)
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


def value_of(setting: Setting, text: str) -> Any:
    """What the text in a field means, MISSING when it is empty; what is wrong is left for the spec to refuse.

    SpecError where the text cannot be read at all.
    """
    if setting.kind == "mapping":
        return dict(_pairs(setting, text)) or MISSING
    if setting.kind == "list":
        return [part.strip() for part in text.split(",") if part.strip()] or MISSING
    if text == "":
        return MISSING
    if fields.takes_text(setting.annotation):
        return text
    value = _parsed(setting, text)
    return MISSING if value is None else value


def _parsed(setting: Setting, text: str) -> Any:
    """Text as YAML; its parser speaks of lines and of documents, and here is one field."""
    try:
        return read_document(text, setting.name).data
    except SpecError as error:
        raise SpecError(say("value.unreadable", text=repr(text[:40]))) from error


def _pairs(setting: Setting, text: str) -> Iterable[tuple[str, Any]]:
    known: set[str] = set()
    for line in filter(None, map(str.strip, text.split("\n"))):
        key, value = _pair(line)
        if key in known:
            raise SpecError(say("line.twice", key=repr(key[:40])), next_step=say("line.twice.next"))
        known.add(key)
        yield key, _item(setting, value)


def _pair(line: str) -> tuple[str, str]:
    key: str | None = None
    end = 0
    if line.startswith('"'):
        with contextlib.suppress(ValueError):  # no whole text in quotes: then it is no key either, as is said below
            key, end = json.JSONDecoder().raw_decode(line)
    found = _SPLIT.match(line, end) if end else _SPLIT.search(line)
    if not found:
        raise SpecError(say("line.colon", line=repr(line[:40])), next_step=say("line.colon.next"))
    return (line[: found.start()].strip() if key is None else key), line[found.end() :].strip()


def _item(setting: Setting, text: str) -> Any:
    raw = fields.takes_text(fields.child(setting.annotation, "")) and text[:1] not in ("'", '"')
    if raw or not text:
        return text
    return _parsed(setting, text)
