"""The models as a tree of fields: which keys stand where, what kind of value they take, what an example looks like."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, BeforeValidator

from azray_lab.spec.models import SHORTHANDS, ClusterSpec
from azray_lab.spec.writing import flow

if typing.TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from azray_lab.spec.problems import Loc


def core(annotation: Any) -> Any:
    """An annotation without `Annotated` and without `| None`."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif optional(annotation):
            annotation = next(a for a in typing.get_args(annotation) if a is not types.NoneType)
        else:
            return annotation


def optional(annotation: Any) -> bool:
    """Whether an annotation is `something | None`."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return is_union and types.NoneType in typing.get_args(annotation)


def model(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation means, or None."""
    kind = core(annotation)
    # Python 3.10 calls `dict[str, int]` a type, too.
    is_class = typing.get_origin(kind) is None and isinstance(kind, type)
    return kind if is_class and issubclass(kind, BaseModel) else None


def child(annotation: Any, part: str | int) -> Any:
    """The annotation of what stands at key or index `part`, or None where nothing can stand there."""
    if found := model(annotation):
        return info.annotation if (info := found.model_fields.get(str(part))) else None
    kind = core(annotation)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple and isinstance(part, int):
        return arguments[0]
    return arguments[1] if typing.get_origin(kind) is dict else None


def annotation_at(loc: Loc) -> Any:
    """The annotation at a location of the spec, or None for an unknown one."""
    annotation: Any = ClusterSpec
    for part in loc:
        annotation = child(annotation, part)
    return annotation


def field_at(loc: Loc) -> tuple[str, FieldInfo] | None:
    """The name and field of the innermost model's field on the way to `loc`, or None."""
    annotation, found = ClusterSpec, None
    for part in loc:
        here = model(annotation)
        if here and (info := here.model_fields.get(str(part))):
            found = (str(part), info)
        annotation = child(annotation, part)
    return found


def is_mapping(annotation: Any) -> bool:
    """Whether free keys stand here, as in `labels`."""
    return typing.get_origin(core(annotation)) is dict


def is_list(annotation: Any) -> bool:
    """Whether a list stands here."""
    return typing.get_origin(core(annotation)) is tuple


def takes_text(annotation: Any) -> bool:
    """Whether a value from an environment variable or a flag is taken as it is, not read as YAML."""
    kind = core(annotation)
    if kind is str or typing.get_origin(kind) is typing.Literal:
        return True
    # Durations and sizes: numbers with a reader of their own.
    inner = next(iter(a for a in typing.get_args(annotation) if a is not types.NoneType), None)
    return kind is int and any(isinstance(m, BeforeValidator) for m in getattr(inner, "__metadata__", ()))


def example(name: str, info: FieldInfo) -> str:
    """The field's first example as a line of YAML: `lease: {idle: 30m, max: 8h}`."""
    value = info.examples[0] if info.examples else info.default
    return f"{name}: {flow(value)}"


def expand(annotation: Any, data: Any) -> Any:
    """`data` with every short form written out (`workers: 3`, `gpus: 1`); what is wrong is left as it is."""
    if (found := model(annotation)) and isinstance(data, dict):
        return {key: _expand_field(found, key, value) for key, value in data.items()}
    if is_list(annotation) and isinstance(data, list | tuple):
        return [expand(child(annotation, 0), item) for item in data]
    return data


def _expand_field(owner: type[BaseModel], key: str, value: Any) -> Any:
    info = owner.model_fields.get(key)
    if info is None:
        return value
    for validator in info.metadata:
        if isinstance(validator, BeforeValidator) and validator.func in SHORTHANDS:
            value = typing.cast("Any", validator.func)(value)
    return expand(info.annotation, value)
