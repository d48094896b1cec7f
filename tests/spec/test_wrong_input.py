"""Wrong input: every error names file, line, column and key, the nearest valid key and an example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from azray_lab.errors import AzRayError, SpecError
from azray_lab.spec import ClusterSpec, fields, json_schema, load

if TYPE_CHECKING:
    from pydantic import BaseModel

WRONG: dict[str, Any] = {
    "name": "Team_A",
    "target": "locl",
    "head.vm_size": "D8 v5",
    "head.cpus": -1,
    "head.gpus": 65,
    "head.gpus.count": "two",
    "head.memory": "lots",
    "head.object_store_memory": 1,
    "head.resources": [1],
    "head.resources.disk": 1.5,
    "head.labels": "a",
    "head.labels.team": "-a-",
    "workers": 1001,
    "workers.0.name": "GPU",
    "workers.0.count": -1,
    "workers.0.min": 10**30,
    "workers.0.max": True,
    "workers.0.gpu": "A100:0",
    "workers.0.spot": "yes",
    "workers.0.cpus": 4.5,
    "mounts": {"a": 1},
    "mounts.0.uri": "",
    "mounts.0.path": "mnt",
    "mounts.0.profile": "fast",
    "mounts.0.engine": "goofys",
    "mounts.0.access": "often",
    "mounts.0.fallback": "yes",
    "mounts.0.read_only": "maybe",
    "mounts.0.options": ["prefetch"],
    "storage": 5,
    "storage.auth_mode": "password",
    "lease": 5,
    "lease.idle": "30 minutes",
    "lease.max": 0,
    "env": "A=1",
    "env.A": 1,
    "azure.region": "UK South",
    "azure.resource_group": "rg.",
    "azure.subscription": "me",
    "local.dashboard_port": 80,
    "local.object_store_directory": "scratch",
}
"""A wrong value for every key."""


def _tree(key: str, value: Any) -> dict[str, Any]:
    """A file's data that has `value` at `key` and is right elsewhere."""
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = [tree] if part == "0" else {part: tree}
    if "mounts" in tree and isinstance(tree["mounts"], list):
        tree["mounts"][0] = {"uri": "az://data", "path": "/a"} | tree["mounts"][0]
    return dict(tree)


def _raised(**arguments: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load(**arguments)
    return caught.value


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, info in model.model_fields.items():
        key = prefix + name
        found.append(key)
        below = fields.model(info.annotation)
        if not below and fields.is_list(info.annotation):
            below = fields.model(fields.child(info.annotation, 0))
            key += ".0"
        if below:
            found += _keys(below, key + ".")
    return found


def test_the_table_has_every_key():
    """WRONG has an entry for each field of the models, so that a new field gets its test."""
    covered = {key.replace("workers.0.", "head.") for key in WRONG} | set(WRONG)
    inner = {"head", "azure", "local"}
    untried = ("gpus.type", "gpus.pretend")
    missing = [
        k for k in _keys(ClusterSpec) if k not in covered | inner and k.replace("workers.0.", "head.") not in covered
    ]
    assert [key for key in missing if not key.endswith(untried)] == []


@pytest.mark.parametrize(("key", "value"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_names_its_place(folder, key, value):
    """A wrong value is refused with file, line, column, key and an example; the JSON Schema refuses it, too."""
    tree = _tree(key, value)
    file = folder / "azray.yaml"
    file.write_text("# a comment\n" + yaml.safe_dump(tree))
    error = _raised()
    assert error.facts["file"] == "azray.yaml"
    assert error.facts["line"] >= 2
    assert error.facts["column"] >= 1
    said = error.facts["key"]
    assert key.startswith(said) or said.startswith(key)
    # A mapping or a list as value begins in the line below its key.
    shown = " ".join(file.read_text().splitlines()[error.facts["line"] - 2 : error.facts["line"]])
    assert next(part for part in reversed(said.split(".")) if part != "0") in shown
    assert error.cause
    assert "`" in error.next_step or "did you mean" in error.next_step
    assert str(error).startswith(f"azray.yaml:{error.facts['line']}:{error.facts['column']}: ")
    if key != "head.object_store_memory":  # the limit of Ray's own is one of the model's
        assert not jsonschema.Draft202012Validator(json_schema()).is_valid(tree)


def test_the_column_is_that_of_the_value(folder):
    """Line and column are exact, counted from 1."""
    (folder / "a.yaml").write_text("name: a\nworkers:\n  - {name: cpu, count: -2}\n")
    error = _raised(file="a.yaml")
    assert (error.facts["line"], error.facts["column"], error.facts["key"]) == (3, 24, "workers.0.count")
    assert str(error) == ("a.yaml:3:24: workers.0.count is -2: it must be at least 0. Next: write it like `count: 2`")


@pytest.mark.parametrize(
    ("text", "line", "column", "near"),
    [
        ("wrkers: 3", 1, 1, "workers"),
        ("name: a\nlease:\n  idel: 1h", 3, 3, "idle"),
        ("workers:\n- {nam: a, count: 1}", 2, 4, "name"),
        ("head: {gpus: {cuont: 1}}", 1, 15, "count"),
        ("Name: a", 1, 1, "name"),
    ],
)
def test_an_unknown_key_offers_the_nearest(folder, text, line, column, near):
    """An unknown key names itself, what is known there, and the nearest with an example."""
    (folder / "azray.yaml").write_text(text)
    problem = _raised().facts["problems"][0]
    assert (problem["line"], problem["column"]) == (line, column)
    assert problem["message"].startswith("unknown key")
    assert f"did you mean {near!r}?" in problem["next_step"]
    assert f"`{near}: " in problem["next_step"]


def test_all_problems_of_a_file_are_told_at_once(folder):
    """Three mistakes are one error: the first in the file leads, all stand in it and in its facts."""
    (folder / "azray.yaml").write_text("name: A\nwrkers: 3\nlease: {idle: soon}\n")
    error = _raised()
    assert [p["line"] for p in error.facts["problems"]] == [1, 2, 3]
    assert "(and 2 more)" in str(error)
    assert "azray.yaml:2:1: unknown key 'wrkers'" in str(error)
    assert "azray.yaml:3:15: lease.idle is 'soon'" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("name: a\n\tworkers: 3", 2, 1, "never by tabs"),
        ("name: a\nworkers: [1", 2, 12, "not valid YAML"),
        ("name: a\n  lease: x", 2, 8, "not valid YAML"),
        ("name: a\nname: b", 2, 1, "stands here twice: first in line 1"),
        ("lease:\n  idle: 1h\n  idle: 2h", 3, 3, "stands here twice"),
        ("- name: a", 1, 1, "must be a mapping"),
        ("hello", 1, 1, "must be a mapping"),
        ("name: a\nlease:", 2, 7, "lease is empty"),
        ("1: a", 1, 1, "is no text"),
        ("[a]: b", 1, 1, "a key must be text"),
        ("name: !!python/name:os.system x", 1, 7, "without a tag"),
        ("name: !mine x", 1, 7, "without a tag"),
        ("a: *nowhere", 1, 4, "undefined alias"),
        ("name: a\n---\nname: b", 2, 1, "single document"),
        ("name: \x07", 1, 7, "does not allow"),
        ('name: "\\ud800"', 1, 7, "no character"),
        ('"\\ud800": 1', 1, 1, "no character"),
        ("<<: 3", 1, 5, "merges mappings only"),
    ],
)
def test_what_is_no_yaml_names_line_and_column(folder, text, line, column, words):
    """Syntax errors, tabs, duplicate keys, tags and other documents are refused at their place."""
    (folder / "azray.yaml").write_text(text)
    error = _raised()
    assert (error.facts["line"], error.facts["column"]) == (line, column)
    assert words in str(error)


def test_a_file_in_another_encoding_is_told_apart(folder):
    """A byte that is no UTF-8 is named by line and column."""
    (folder / "azray.yaml").write_bytes("name: a\nenv: {A: é}".encode("latin-1"))
    error = _raised()
    assert (error.facts["line"], error.facts["column"]) == (2, 10)
    assert "UTF-8" in error.next_step


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in ("ab", "bc", "cd", "de", "ef", "fg")),
        "a: &a [*a]",
        "a: " + "[" * 3000,
        "a: " + "{a: " * 30 + "1" + "}" * 30,
        "a: [" + "a," * 500_000 + "]",
    ],
    ids=["laughs", "cycle", "deep", "nested", "wide"],
)
def test_aliases_and_nesting_have_a_limit(folder, text):
    """Aliases of aliases, cycles and endless nesting are refused instead of filling the memory."""
    (folder / "azray.yaml").write_text(text)
    error = _raised()
    assert "is no spec" in str(error)
    assert error.next_step


def test_a_huge_file_is_refused(folder):
    """What is larger than 1 MiB is another file given by mistake."""
    (folder / "azray.yaml").write_text("#" * (1024 * 1024 + 1))
    assert "larger than 1024 KiB" in str(_raised())


def test_a_missing_file_names_those_that_are_there(folder):
    """A path that does not exist names the YAML files beside it; a folder and an unreadable path are told apart."""
    (folder / "mine.yaml").write_text("")
    assert "mine.yaml" in _raised(file="azray.yml").cause
    (folder / "sub").mkdir()
    assert "no YAML file is there" in str(_raised(file=folder / "sub" / "x.yaml"))
    assert "directory" in str(_raised(file=folder / "sub"))
    assert "no file nowhere.yaml" in str(_raised(environ={"AZRAY_SPEC": "nowhere.yaml"}))


@pytest.mark.parametrize(
    ("name", "where"),
    [("Team", "capital"), ("a/b", "path"), ("../up", "path"), ("a.b", "DNS"), ("-a", "DNS"), ("a-", "DNS"),
     ("", "empty"), ("a" * 41, "long"), ("ä", "ASCII"), ("a b", "label"), ("a_b", "DNS"), ("1a", "DNS"),
     ("a\n", "line"), ("a\0", "path")],
)  # fmt: skip
def test_an_unsafe_name_is_refused_with_a_good_one(name, where):
    """Names unsafe as a label, a path or a DNS name are refused, and the error shows a good one."""
    assert where
    error = _raised(arguments={"name": name})
    assert error.next_step == "write it like `name: team-a`"
    assert "lower-case" in error.cause


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ({"workers": [{"count": 1, "min": 0}]}, "workers.0.count", "either count, or min and max"),
        ({"workers": [{"min": 3, "max": 1}]}, "workers.0.min", "min (3) is above max (1)"),
        ({"workers": [{"name": "a"}, {"name": "a"}]}, "workers.1.name", "'a' is the name of group 0 already"),
        ({"workers": [{"name": "head"}]}, "workers.0.name", "the head's name"),
        (
            {"mounts": [{"uri": "az://data", "path": "/a"}, {"uri": "az://data/b", "path": "/a/"}]},
            "mounts.1.path",
            "mounted twice",
        ),
        ({"mounts": [{"uri": "x", "path": "/a"}]}, "mounts.0.uri", "'x' is no Blob URI"),
        (
            {"mounts": [{"uri": "abs://data", "path": "/a"}]},
            "mounts.0.uri",
            "abs:// is no Blob URI. Did you mean 'abfs'",
        ),
        ({"mounts": [{"uri": "az://A B/c", "path": "/a"}]}, "mounts.0.uri", "container"),
        ({"mounts": [{"uri": "az://", "path": "/a"}]}, "mounts.0.uri", "names no container"),
        ({"mounts": [{"uri": "az://data", "path": "/"}]}, "mounts.0.path", "below /"),
        ({"mounts": [{"uri": "az://data", "path": "/mnt/../etc"}]}, "mounts.0.path", "`..` in it"),
        (
            {"mounts": [{"uri": "https://a.b/c?sv=1&sig=x", "path": "/a"}]},
            "mounts.0.uri",
            "does not belong into a spec",
        ),
        ({"env": {"AZRAY_CLUSTER_ID": "x"}}, "env.AZRAY_CLUSTER_ID", "set by `up`"),
        ({"head": {"resources": {"GPU": 1}}}, "head.resources.GPU", "Ray's own"),
        ({"lease": {"idle": "2h", "max": "1h"}}, "lease.idle", "2h is above lease.max, 1h"),
        ({"head": {"labels": {"ray.io/x": "1"}}}, "head.labels.ray.io/x", "set by the target"),
        ({"head": {"gpus": {"type": "A100"}}}, "head.gpus.count", "has no 'count'"),
        ({"head": {"labels": {"a b": "1"}}}, "head.labels.a b", "no good key"),
    ],
)
def test_checks_across_values_name_the_value(folder, data, key, words):
    """What only shows when several values are seen together is refused at one of them, with line and column."""
    (folder / "azray.yaml").write_text(yaml.safe_dump(data))
    error = _raised()
    assert error.facts["key"] == key
    assert words in str(error)
    assert error.facts["line"]
    assert error.next_step


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"flags": {"lease.idel": "1h"}}, "flag lease.idel: unknown key 'lease.idel'"),
        ({"flags": {"lease.idle": "soon"}, "typed": {"lease.idle": "--idle"}}, "flag --idle: lease.idle is 'soon'"),
        ({"flags": {"workers": True}}, "workers is true: it must be a number, or a list of groups"),
        ({"arguments": {"head": {"gpus": True}}}, "head.gpus is true: it must be a number, or a mapping"),
        ({"arguments": {"azure": {"region": True}}}, "azure.region is true: it must be a region's name, or a list"),
        ({"flags": {"workers": -1}}, "flag --workers: workers is -1"),
        ({"flags": {"lease.idle.x": "1h"}}, "lease.idle is one value and has no keys"),
        ({"flags": {"workers.gpx.count": "1"}}, "there are cpu, gpu. Next: use workers.gpu"),
        ({"flags": {"workers.7.count": "1"}}, "has no entry '7'"),
        ({"flags": {"workers": 3}}, "there are several groups: one number cannot be divided among cpu, gpu"),
        ({"flags": {"workers": "[1"}}, "flag --workers: this is not valid YAML"),
        ({"environ": {"AZRAY_WRKERS": "3"}}, "did you mean AZRAY_WORKERS?"),
        ({"environ": {"AZRAY_LAESE__IDLE": "1h"}}, "did you mean AZRAY_LEASE__IDLE?"),
        ({"environ": {"AZRAY_LEASE__IDEL": "1h"}}, "environment AZRAY_LEASE__IDEL: unknown key 'lease.idel'"),
        ({"environ": {"AZRAY_LEASE__IDLE": "soon"}}, "environment AZRAY_LEASE__IDLE: lease.idle is 'soon'"),
        ({"environ": {"AZRAY_HMOE": "/x"}}, "did you mean AZRAY_HOME?"),
        ({"arguments": {"wrokers": 1}}, "argument wrokers: unknown key 'wrokers'"),
        ({"arguments": {"lease": {"idel": "1h"}}}, "argument lease: unknown key 'idel'"),
    ],
)
def test_a_wrong_flag_or_variable_names_itself(design, arguments, words):
    """What is wrong in a flag, a variable or an argument is told with its name."""
    assert design.is_file()
    assert words in str(_raised(**arguments))


def test_the_error_is_ours_and_its_cause_is_kept(folder):
    """A SpecError is a usage error that keeps pydantic's or PyYAML's as its cause."""
    assert folder == Path.cwd()
    error = _raised(file={"workers": -1})
    assert isinstance(error, AzRayError)
    assert error.exit_code == 2
    assert type(error.__cause__).__name__ == "ValidationError"
