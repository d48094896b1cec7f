"""The one place in which pydantic's errors become ours: plain words, the place, the nearest key, an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azray_lab.spec import fields, models
from azray_lab.spec.problems import Loc, Problem, closest, dotted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from azray_lab.spec.layers import Layers

_PATTERNS = {
    models.NAME_PATTERN: "a name has lower-case letters, digits and hyphens, begins with a letter, does not end with a "
    "hyphen and has at most 40 characters, so that it is safe as file, DNS name and label",
    models.GROUP_PATTERN: "a group's name has lower-case letters, digits and hyphens, begins with a letter, does not "
    "end with a hyphen and has at most 20 characters",
    models.LABEL_KEY_PATTERN: "a label's key has letters, digits, - _ . with an optional DNS prefix and a slash",
    models.LABEL_VALUE_PATTERN: "a label's value has at most 63 letters, digits, - _ . and begins and ends with a "
    "letter or digit",
    models.VM_SIZE_PATTERN: "a VM size is written as Azure writes it, with underscores",
    models.ACCELERATOR_PATTERN: "an accelerator type has letters, digits and hyphens",
    models.GPU_PATTERN: "it is a GPU type, and a colon and a count from 1 to 99 where it is more than one",
    models.RESOURCE_PATTERN: "a resource's name begins with a letter and has letters, digits, - _ :",
    models.VARIABLE_PATTERN: "a variable's name has letters, digits and underscores and begins with no digit",
    models.ABSOLUTE_PATTERN: "it must be an absolute path, below /",
    models.REGION_PATTERN: "a region is written as Azure writes it: lower-case letters and digits, no spaces",
    models.RESOURCE_GROUP_PATTERN: "a resource group has at most 90 letters, digits, - _ . ( ) and ends with no dot",
    models.SUBSCRIPTION_PATTERN: "a subscription's id is a UUID",
}

_KINDS = {
    "int_type": "it must be a whole number",
    "bool_type": "it must be true or false",
    "string_type": "it must be text; put it in quotes",
    "tuple_type": "it must be a list",
    "dict_type": "it must be a mapping of keys to values",
    "model_type": "it must be a mapping of keys to values",
    "model_attributes_type": "it must be a mapping of keys to values",
}


def problems_of(error: ValidationError, layers: Layers) -> list[Problem]:
    """What pydantic found, each with its place in the file, variable or flag that it came from."""
    details = error.errors(include_url=False)
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    # `cuont: 1` is one mistake, not an unknown key and a missing one.
    misspelled = {(*loc[:-1], closest(str(loc[-1]), _known(loc[:-1]))) for loc in unknown}
    return [_problem(d, layers) for d in details if not (d["type"] == "missing" and d["loc"] in misspelled)]


def _known(loc: Loc) -> list[str]:
    owner = fields.model(fields.annotation_at(loc))
    return list(owner.model_fields) if owner else []


def _problem(detail: ErrorDetails, layers: Layers) -> Problem:
    loc: Loc = detail["loc"]
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return _unknown_key(loc, layers)
    if detail["type"] == "missing":
        return _missing(loc, layers)
    if loc and loc[-1] == "[key]":
        return _bad_key(loc[:-1], detail, layers)
    if "at" in context:
        # A check across several fields says itself at which one it failed.
        loc = (*loc, *context["at"])
        return Problem(layers.place(loc), dotted(loc), f"{dotted(loc)}: {detail['msg']}", "", context["hint"])
    written = layers.written(loc) or loc
    key = dotted(written)
    message = f"{key or 'the spec'} is {_shown(detail['input'])}"
    return Problem(layers.place(loc), key, message, _cause(detail, context), _hint(written, detail))


def _unknown_key(loc: Loc, layers: Layers) -> Problem:
    known = _known(loc[:-1])
    key = str(loc[-1])
    where = f"the keys of {dotted(loc[:-1])} are" if loc[:-1] else "the keys here are"
    if near := closest(key, known):
        step = f"did you mean {near!r}? It is written like `{_example((*loc[:-1], near))}`"
    else:
        step = f"remove it, or use one of the keys, as in `{_example((*loc[:-1], known[0])) if known else ''}`"
    return Problem(layers.key_place(loc), dotted(loc), f"unknown key {key!r}", f"{where} {', '.join(known)}", step)


def _missing(loc: Loc, layers: Layers) -> Problem:
    owner, key = dotted(loc[:-1]), str(loc[-1])
    step = f"add it, as in `{_example(loc)}`"
    return Problem(layers.place(loc), dotted(loc), f"{owner} has no {key!r}", f"{key} has no default", step)


def _bad_key(loc: Loc, detail: ErrorDetails, layers: Layers) -> Problem:
    cause = _cause(detail, detail.get("ctx", {}))
    return Problem(
        layers.key_place(loc), dotted(loc), f"{str(loc[-1])[:60]!r} is no good key", cause, _hint(loc, detail)
    )


def _cause(detail: ErrorDetails, context: dict[str, Any]) -> str:
    words: dict[str, Callable[[], str]] = {
        "string_pattern_mismatch": lambda: _PATTERNS[context["pattern"]],
        "greater_than_equal": lambda: f"it must be at least {context['ge']}",
        "less_than_equal": lambda: f"it must be at most {context['le']}",
        "literal_error": lambda: f"it must be one of {', '.join(_choices(context))}",
        "too_long": lambda: f"it has {context['actual_length']} entries and may have {context['max_length']}",
        "string_too_short": lambda: "it must not be empty",
        "value_error": lambda: str(context["error"]),
    }
    kind = detail["type"]
    if kind in words:
        return words[kind]()
    short = models.SHORT_FORMS.get(str(detail["loc"][-1])) if kind in _KINDS and detail["loc"] else None
    return f"it must be {short}" if short else _KINDS.get(kind, detail["msg"])


def _choices(context: dict[str, Any]) -> list[str]:
    expected: str = context["expected"]
    return [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]


def _hint(loc: Loc, detail: ErrorDetails) -> str:
    choices = _choices(detail["ctx"]) if detail["type"] == "literal_error" else []
    near = closest(str(detail["input"]), choices)
    return f"did you mean {near!r}?" if near else f"write it like `{_example(loc)}`"


def _example(loc: Loc) -> str:
    found = fields.field_at(loc)
    return fields.example(*found) if found else "workers: 3"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - half a line
