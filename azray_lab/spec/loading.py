"""Loading: default < file < environment < flags < arguments, and every value remembers where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from azray_lab.errors import SpecError
from azray_lab.spec import fields, settings
from azray_lab.spec.document import Document, read_document
from azray_lab.spec.layers import Layers
from azray_lab.spec.models import ClusterSpec
from azray_lab.spec.problems import Place, Problem, closest, spec_error
from azray_lab.spec.translation import problems_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azray_lab.spec.problems import Loc

_KINDS = "a spec is a path, a mapping or a ClusterSpec; None means azray.yaml and the environment"
Source = str | Path | Mapping[str, Any] | ClusterSpec
# Variables that Kubernetes puts into pods for a service called azray-...; nobody wrote those for us.
_SERVICE_LINKS = ("_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_TCP", "_UDP", "_ADDR", "_PROTO")


@dataclass(frozen=True)
class Setting:
    """One value of a loaded spec: its dotted key, the value as JSON, and where it came from."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True)
class LoadedSpec:
    """A spec with the source of each of its values."""

    spec: ClusterSpec
    settings: tuple[Setting, ...]

    @property
    def sources(self) -> dict[str, str]:
        """Where each value came from, by dotted key: `default`, `azray.yaml:3:7`, `environment AZRAY_WORKERS`."""
        return {setting.key: setting.source for setting in self.settings}

    def to_dict(self) -> dict[str, Any]:
        """The whole spec, defaults filled in, and the source of each value."""
        return {"spec": self.spec.model_dump(mode="json"), "sources": self.sources}


@dataclass(frozen=True)
class Assignment:
    """A value that was given as text, `lease.idle=30m`, and where."""

    key: str
    text: str
    place: Place


def load(
    file: Source | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    text: str | None = None,
    typed: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> LoadedSpec:
    """The spec of a YAML file, of the environment, of flags and arguments; the later wins.

    `file`: a path; None means AZRAY_SPEC, else `azray.yaml` in the working directory, else no file. A mapping or a spec
    is taken as it is, without environment. `text` is YAML that stands in for the file, such as a notebook's cell.
    `flags` are values by dotted key (`{"lease.idle": "30m", "workers.gpu.count": 2}`); one that is text is read as the
    environment's are; `typed` says by key how the user wrote it (`{"lease.idle": "--idle"}`). `arguments` are those of
    a Python call. `environ` stands in for the process's.

    SpecError names file, line, column, key, the nearest valid key and an example, for all that is wrong at once.
    """
    layers = _base(file, text, environ)
    if file is None or isinstance(file, str | Path):
        for given in _from_environment(settings.spec_environment(environ)):
            _assign_text(layers, given, join="__")
    for key, value in (flags or {}).items():
        place = Place(f"flag {(typed or {}).get(key) or (key if '.' in key else f'--{key}')}")
        if isinstance(value, str):
            _assign_text(layers, Assignment(key, value, place))
        else:
            _assign_value(layers, key, value, place)
    for key, value in (arguments or {}).items():
        _assign_value(layers, key, value, Place(f"argument {key}"))
    try:
        spec = ClusterSpec.model_validate({} if layers.data is None else layers.data)
    except ValidationError as error:
        raise spec_error(problems_of(error, layers)) from error
    return LoadedSpec(spec, tuple(_settings(spec, layers)))


def _base(file: Source | None, text: str | None, environ: Mapping[str, str] | None) -> Layers:
    if text is not None:
        return Layers(read_document(text, "cell", "cell"), Place("cell", 1, 1, "cell"))
    if isinstance(file, ClusterSpec):
        return Layers(Document(file.model_dump(mode="json", exclude_unset=True)), Place("argument spec"))
    if isinstance(file, Mapping):
        return Layers(Document(dict(file)), Place("argument spec"))
    if file is not None and (file == "" or not isinstance(file, str | Path)):
        what = "an empty text" if file == "" else f"{file!r:.60}, a {type(file).__name__},"
        raise SpecError(
            f"{what} is no spec", cause=_KINDS, next_step="give a path, as in 'azray.yaml', or leave it out"
        )
    path = Path(file).expanduser() if file is not None else settings.spec_file(environ)
    if path is None:
        return Layers(Document(None), Place("no file"))
    document = read_document(settings.read_settings_file(path), str(path), str(path))
    return Layers(document, Place(str(path), 1, 1, str(path)))


def _assign_value(layers: Layers, key: str, value: Any, place: Place) -> None:
    layers.assign(layers.locate(key.split("."), place), value, place)


def _assign_text(layers: Layers, given: Assignment, join: str = ".") -> None:
    loc = layers.locate(given.key.split(join), given.place, join)
    layers.assign(loc, _read(loc, given), given.place)


def _read(loc: Loc, given: Assignment) -> Any:
    """The value that a text means at `loc`: text where text stands, else YAML, so `3`, `true`, `[a, b]`."""
    annotation = fields.annotation_at(loc)
    if given.text == "null" and fields.optional(annotation):
        return None
    return given.text if fields.takes_text(annotation) else read_document(given.text, given.place.label).data


def _from_environment(variables: Mapping[str, str]) -> Iterator[Assignment]:
    """The variables that are fields of the spec, sections before their fields; SpecError for misspelled ones."""
    for variable, text in sorted(variables.items(), key=lambda item: (item[0].count("__"), item[0])):
        parts = variable.removeprefix(settings.PREFIX).split("__")
        place = Place(f"environment {variable}")
        if parts[0].lower() in ClusterSpec.model_fields:
            yield Assignment("__".join(_field_names(parts)), text, place)
        elif near := _misspelled(variable):
            raise spec_error([Problem(place, variable, f"unknown variable {variable}", "", f"did you mean {near}?")])


def _field_names(parts: list[str]) -> list[str]:
    # Keys of free mappings (env, labels) keep their case; fields and groups are lower-case.
    out: list[str] = []
    annotation: Any = ClusterSpec
    for part in parts:
        out.append(part if fields.is_mapping(annotation) else part.lower())
        annotation = fields.child(annotation, 0 if fields.is_list(annotation) else out[-1])
    return out


def _misspelled(variable: str) -> str:
    """The variable that was probably meant, or an empty string for one that is not for us."""
    if variable.endswith(_SERVICE_LINKS):
        return ""
    first, *rest = variable.removeprefix(settings.PREFIX).split("__")
    known = [name.upper() for name in ClusterSpec.model_fields] + [
        name.removeprefix(settings.PREFIX) for name in settings.RESERVED
    ]
    near = closest(first.lower(), [name.lower() for name in known], cutoff=0.7).upper()
    if not near and rest:
        near = "WORKERS"
    return settings.PREFIX + "__".join([near, *rest]) if near else ""


def _settings(spec: ClusterSpec, layers: Layers) -> Iterator[Setting]:
    yield from _leaves(spec.model_dump(mode="json"), layers, (), ())


def _leaves(value: Any, layers: Layers, loc: Loc, shown: tuple[str, ...]) -> Iterator[Setting]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, layers, (*loc, key), (*shown, key))
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            name = str(inner["name"]) if loc == ("workers",) else str(i)
            yield from _leaves(inner, layers, (*loc, i), (*shown, name))
    else:
        yield Setting(".".join(shown), value, str(layers.source(loc)))
