"""Properties that hold for all specs, quantities and places, tried on thousands by chance."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from azray_lab.errors import SpecError
from azray_lab.spec import ClusterSpec, json_schema, load
from azray_lab.spec.document import read_document
from azray_lab.spec.models import NAME_PATTERN
from azray_lab.spec.quantities import (
    LARGEST_SIZE,
    TEN_YEARS,
    Duration,
    Size,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from azray_lab.spec.writing import to_yaml

# No deadlines: the machine may be busy, and a test says nothing about time.
calm = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def _some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


_words = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_durations = st.integers(1, 10 * 365 * 86400) | st.from_regex(r"[1-9][0-9]?h([1-9]m)?", fullmatch=True)
_sizes = st.integers(2**27, 2**40) | st.sampled_from(["2GiB", "500MB", "1.5G", "1 TiB"])
_gpus = st.integers(0, 64) | _some({"count": st.integers(0, 64)}, {"type": st.just("A100"), "pretend": st.booleans()})
_node = {
    "vm_size": st.just("Standard_D8s_v5"),
    "cpus": st.integers(0, 1024),
    "gpus": _gpus,
    "memory": _sizes,
    "object_store_memory": _sizes,
    "resources": st.dictionaries(_words, st.integers(0, 10**9), max_size=2),
    "labels": st.dictionaries(_words, _words, max_size=2),
}
_group = _some(
    {"name": _words.filter(lambda name: name != "head")},
    _node | {"count": st.integers(0, 1000), "gpu": st.just("A100:8"), "spot": st.booleans()},
)
_groups = st.lists(_group, max_size=3, unique_by=lambda group: group["name"])
_mount = _some(
    {"uri": st.just("az://data/x"), "path": _words.map(lambda word: f"/mnt/{word}")},
    {"profile": st.sampled_from(["dataset", "checkpoints", "models", "shared"])},
)
_regions = st.sampled_from(["uksouth", "swedencentral"])


def _idle_is_within_max(lease: dict[str, Any]) -> bool:
    return len(lease) < 2 or parse_duration(lease["idle"]) <= parse_duration(lease["max"])


_leases = _some({}, {"idle": _durations, "max": _durations}).filter(_idle_is_within_max)

specs = _some(
    {},
    {
        "name": _words,
        "target": st.sampled_from(["local", "dsvm", "aks"]),
        "head": _some({}, _node),
        "workers": st.integers(0, 1000) | _groups,
        "mounts": st.lists(_mount, max_size=2, unique_by=lambda mount: mount["path"]),
        "lease": _leases,
        "env": st.dictionaries(st.from_regex(r"[B-Z_]{1,8}", fullmatch=True), st.text(max_size=5), max_size=2),
        "azure": _some(
            {}, {"region": _regions | st.lists(_regions, max_size=3), "resource_group": st.just("team-a-rg")}
        ),
        "local": _some({}, {"dashboard_port": st.integers(1024, 65535)}),
    },
)
"""Valid specs as the data of a file, short forms included."""


@calm
@given(specs)
def test_a_dumped_spec_loads_as_itself(data):
    """A spec written as JSON, as YAML or as Python data is the same spec when it is loaded again."""
    spec = ClusterSpec.load(data)
    assert ClusterSpec.load(spec.to_dict()) == spec
    assert ClusterSpec.load(spec) == spec
    assert load(None, text=to_yaml(spec.to_dict()), environ={}).spec == spec
    assert ClusterSpec.model_validate_json(json.dumps(spec.model_dump(mode="json"))) == spec


@calm
@given(specs)
def test_the_schema_accepts_what_the_models_accept(data):
    """The published JSON Schema lets through every valid spec, as written and as dumped."""
    VALIDATOR.validate(data)
    VALIDATOR.validate(ClusterSpec.load(data).to_dict())


@calm
@given(specs, specs)
def test_the_later_layer_wins(lower, upper):
    """What the upper layer gives is in the spec with its source; what only the lower gives stays."""
    lower.pop("workers", None)
    if "lease" in upper:  # the one's idle may be above the other's max
        lower.pop("lease", None)
    merged = load(None, text=to_yaml(lower), arguments=upper, environ={})
    alone = load(upper)
    for setting in alone.settings:
        if setting.source != "default" and setting.value not in ({}, []):
            assert merged.sources[setting.key].startswith("argument "), setting
            assert {s.key: s.value for s in merged.settings}[setting.key] == setting.value
    untouched = set(lower) - set(upper)
    for key in untouched:
        assert getattr(merged.spec, key) == getattr(load(lower).spec, key)


@calm
@given(specs)
def test_every_source_is_the_place_of_its_value(data):
    """Each value that a file gave names the line and column where it stands in the file."""
    text = to_yaml(data)
    lines = text.splitlines()
    for setting in load(None, text=text, environ={}).settings:
        if setting.source != "default":
            label, line, column = setting.source.split(":")
            assert label == "cell"
            assert lines[int(line) - 1][int(column) - 1 :].strip()


@given(st.integers(0, TEN_YEARS))
def test_durations_are_read_as_written(seconds):
    """parse(format(x)) is x for every duration."""
    assert parse_duration(format_duration(seconds)) == seconds
    assert parse_duration(str(seconds)) == seconds


@given(st.integers(0, LARGEST_SIZE))
def test_sizes_are_read_as_written(size):
    """parse(format(x)) is x for every size."""
    assert parse_size(format_size(size)) == size
    assert parse_size(f"{size}B") == size


@calm
@given(
    st.text(alphabet="0123456789dhms .", max_size=8) | st.text(alphabet="0123456789KMGTiB .", max_size=8) | st.text()
)
def test_quantities_and_their_schemas_agree_on_text(text):
    """A text is a duration or a size exactly when its pattern in the schema says so, but for the limits."""
    for kind, parse in ((Duration, parse_duration), (Size, parse_size)):
        pattern = {"type": "string", "pattern": TypeAdapter(kind).json_schema()["anyOf"][0]["pattern"]}
        said = jsonschema.Draft202012Validator(pattern).is_valid(text) and not text.endswith("\n")
        try:
            parse(text)
        except ValueError:
            assert not said
        else:
            assert said


@calm
@given(st.text(max_size=50) | st.from_regex(NAME_PATTERN))
def test_a_name_is_safe_everywhere_or_refused(name):
    """A name that is taken is a DNS label, one folder and a Kubernetes label; all others are refused."""
    try:
        spec = ClusterSpec.load({"name": name})
    except SpecError:
        return
    assert spec.name == name
    assert name.isascii()
    assert 0 < len(name.encode()) <= 40
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name[0].isalpha()
    assert name[-1] != "-"


_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
_trees = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@calm
@given(_trees)
def test_the_reader_reads_what_yaml_writes(data):
    """A document in JSON, which is YAML 1.2, is read as the same data, with a place for every value."""
    document = read_document(json.dumps(data), "x.yaml", "x.yaml")
    assert document.data == data
    assert () in document.values


@calm
@given(st.text(max_size=60) | st.text(alphabet="ab:- {}[]&*#'\"\t\n|>!<", max_size=40))
def test_any_text_is_a_spec_or_a_spec_error(text):
    """Whatever stands in a file, the answer is a spec or a SpecError, never anything else."""
    try:
        load(None, text=text, environ={})
    except SpecError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said


@calm
@given(st.dictionaries(_words, st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12)))
@example({"exponent": "0E0", "no": "no", "time": "12:30", "octal": "0o17", "empty": "", "null": "~"})
def test_text_stays_text_in_yaml(data):
    """Text that looks like a number, a boolean or nothing is quoted, and read as text by YAML 1.1 and 1.2."""
    assert read_document(to_yaml(data), "x.yaml", "x.yaml").data == data
    assert yaml.safe_load(to_yaml(data)) == data
