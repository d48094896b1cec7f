"""The JSON Schema, the verbs that show it and the filled-in spec, and the generated reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from azray_lab.spec import ClusterSpec, fields, json_schema, writing

if TYPE_CHECKING:
    from azray_lab.spec.problems import Loc

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def _azray(*words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from azray_lab.cli import main; sys.exit(main())"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_the_schema_is_a_schema():
    """It is valid draft 2020-12, has an identifier and words, and closes every object."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"]
    assert SCHEMA["title"]
    assert SCHEMA["description"].startswith("A cluster")
    for model in (SCHEMA, *SCHEMA["$defs"].values()):
        assert model["additionalProperties"] is False
        assert all(field["description"] for field in model["properties"].values())


def test_the_schema_accepts_the_design(design):
    """The design's example is valid by the schema alone."""
    VALIDATOR.validate(yaml.safe_load(design.read_text()))


@pytest.mark.parametrize(
    "data",
    [
        {"workers": 3},
        {"head": {"gpus": 1}},
        {"head": {"gpus": {"count": 1, "pretend": True}}},
        {"azure": {"region": "uksouth"}},
        {"lease": {"idle": 90, "max": "1h30m"}},
        {"head": {"memory": "2GiB", "object_store_memory": 10**9}},
        {},
    ],
    ids=str,
)
def test_the_schema_and_the_models_accept_short_forms(data):
    """What may be written short is in the schema."""
    VALIDATOR.validate(data)
    ClusterSpec.load(data)


def _locations(loc: Loc = ()) -> list[Loc]:
    """The way to every field of the models."""
    found: list[Loc] = []
    if model := fields.model(fields.annotation_at(loc)):
        for name in model.model_fields:
            here = (*loc, name)
            found.append(here)
            found += _locations((*here, 0) if fields.is_list(fields.annotation_at(here)) else here)
    return found


@pytest.mark.parametrize("loc", _locations(), ids=str)
def test_every_field_has_words_and_examples_that_are_valid(loc):
    """Each field has a docstring and examples, and each example stands as it is in a valid file."""
    found = fields.field_at(loc)
    assert found
    name, info = found
    assert info.description
    assert info.description.endswith((".", "..."))
    assert info.examples
    for example in info.examples:
        value = yaml.safe_load(writing.flow(example))
        tree: object = value
        for part in reversed(loc):
            tree = [tree] if isinstance(part, int) else {part: tree}
            if isinstance(tree, dict) and part == "pretend":
                tree["count"] = 1
            if isinstance(tree, dict) and part == "type":
                tree["count"] = 1
            if isinstance(tree, dict) and loc[0] == "mounts" and part == loc[-1] != "mounts":
                tree = {"uri": "az://data", "path": "/a"} | tree
        assert isinstance(tree, dict)
        VALIDATOR.validate(tree)
        ClusterSpec.load(tree)
        assert fields.example(name, info).startswith(f"{name}: ")


def test_spec_schema_prints_the_schema():
    """`azray spec schema` prints the document itself, with and without --json."""
    for words in ((), ("--json",)):
        shown = _azray("spec", "schema", *words)
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout) == SCHEMA


def test_spec_show_tells_values_and_sources(design, monkeypatch):
    """`azray spec show` has every value with its source, as a table and as JSON."""
    monkeypatch.setenv("AZRAY_LEASE__MAX", "2h")
    shown = _azray("spec", "show", "-f", design.name, "--set", "workers.gpu.max=5", "--name", "b", "--json")
    assert shown.returncode == 0, shown.stderr
    answer = json.loads(shown.stdout)
    assert answer["spec"]["workers"][1]["max"] == 5
    assert answer["sources"]["workers.gpu.max"] == "flag --set workers.gpu.max"
    assert answer["sources"]["name"] == "flag --name"
    assert answer["sources"]["lease.max"] == "environment AZRAY_LEASE__MAX"
    assert answer["sources"]["lease.idle"] == "azray.yaml:9:15"
    assert answer["sources"]["head.cpus"] == "default"
    assert ClusterSpec.load(answer["spec"]).name == "b"
    table = _azray("spec", "show").stdout
    assert [line.split() for line in table.splitlines()][1] == ["name", "team-a", "azray.yaml:1:7"]
    assert ["lease.max", "2h", "environment", "AZRAY_LEASE__MAX"] in [line.split() for line in table.splitlines()]


def test_spec_show_of_a_wrong_file_is_one_clean_line(folder):
    """A wrong file is exit code 2 and one line on stderr, with the place first."""
    (folder / "azray.yaml").write_text("wrkers: 3\n")
    shown = _azray("spec", "show")
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert len(shown.stderr.splitlines()) == 1
    assert shown.stderr.startswith("azray: azray.yaml:1:1: unknown key 'wrkers'")
    assert "did you mean 'workers'?" in shown.stderr


@pytest.mark.parametrize("script", ["spec_reference.py", "verb_reference.py"])
def test_the_reference_is_up_to_date(script):
    """The committed pages of the reference are what the models and the verbs say now."""
    command = [sys.executable, str(ROOT / "scripts" / script), "--check"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
