"""Loading: what wins, and where each value came from."""

from __future__ import annotations

import pydantic
import pytest

from azray_lab.spec import ClusterSpec, load


def test_the_example_of_the_design_loads(design):
    """The design's example is a valid spec, and `azray.yaml` in the working directory is found."""
    spec = load(environ={}).spec
    assert design.name == "azray.yaml"
    assert (spec.name, spec.target, spec.head.vm_size) == ("team-a", "dsvm", "Standard_D8s_v5")
    assert [(g.name, g.count, g.min, g.max, g.gpu, g.spot) for g in spec.workers] == [
        ("cpu", 2, None, None, None, False),
        ("gpu", None, 0, 3, "A100:8", True),
    ]
    assert (spec.lease.idle, spec.lease.max) == (1800, 28800)
    assert spec.azure.region == ("uksouth", "swedencentral")
    assert spec.node_names() == {"head": "head", "cpu-1": "cpu", "cpu-2": "cpu"}


def test_without_a_file_everything_has_a_default(folder):
    """No file, an empty file and one with comments only are one local head."""
    expected = {"name": "default", "target": "local"}
    assert load(environ={}).spec.to_dict() == expected
    for text in ("", "# nothing\n", "---\n", "\ufeff", "{}", "null"):
        (folder / "azray.yaml").write_text(text, encoding="utf-8")
        assert load(environ={}).spec.to_dict() == expected


def test_the_order_is_default_file_environment_flag_argument(folder):
    """Each layer wins over the one below, and each value tells its layer."""
    (folder / "azray.yaml").write_text(
        "name: f\nlease: {idle: 1m, max: 1h}\nhead: {cpus: 1, memory: 1GiB}\nworkers: 1\n"
    )
    environ = {"AZRAY_NAME": "e", "AZRAY_LEASE__IDLE": "2m", "AZRAY_HEAD__CPUS": "2", "AZRAY_WORKERS": "2"}
    loaded = load(
        environ=environ, flags={"name": "fl", "lease.idle": "3m", "workers": 3}, arguments={"name": "a", "workers": 4}
    )
    spec = loaded.spec
    assert (spec.name, spec.lease.idle, spec.lease.max, spec.head.cpus, spec.workers[0].count) == ("a", 180, 3600, 2, 4)
    given = {key: source for key, source in loaded.sources.items() if source != "default"}
    assert given == {
        "name": "argument name",
        "head.cpus": "environment AZRAY_HEAD__CPUS",
        "head.memory": "azray.yaml:3:25",
        "workers.worker.count": "argument workers",
        "lease.idle": "flag lease.idle",
        "lease.max": "azray.yaml:2:24",
    }
    assert loaded.sources["target"] == "default"


def test_azray_spec_names_the_file(folder):
    """AZRAY_SPEC stands in for `azray.yaml`, and a file that is given wins over both."""
    for name in ("azray", "other", "third"):
        (folder / f"{name}.yaml").write_text(f"name: {name}\n")
    assert load(environ={}).spec.name == "azray"
    assert load(environ={"AZRAY_SPEC": "other.yaml"}).spec.name == "other"
    assert load("third.yaml", environ={"AZRAY_SPEC": "other.yaml"}).spec.name == "third"
    assert load(environ={"AZRAY_SPEC": ""}).spec.name == "azray"


def test_a_mapping_and_a_spec_are_taken_as_they_are(design, monkeypatch):
    """Neither `azray.yaml` nor the environment changes what a Python call gives in full; overrides do."""
    monkeypatch.setenv("AZRAY_WORKERS", "7")
    assert design.is_file()
    assert ClusterSpec.load({"name": "a"}).to_dict() == {"name": "a", "target": "local"}
    spec = ClusterSpec.load({"name": "a", "workers": 2}, lease={"idle": "30m"})
    assert ClusterSpec.load(spec) == spec
    assert ClusterSpec.load(spec, workers=5).workers[0].count == 5
    assert ClusterSpec.load(spec, workers=5).lease.idle == 1800


def test_the_process_environment_counts_for_a_file(folder, monkeypatch):
    """Without `environ` the process's own environment is read."""
    monkeypatch.setenv("AZRAY_WORKERS", "7")
    (folder / "a.yaml").write_text("workers: 2\n")
    assert ClusterSpec.load("a.yaml").workers[0].count == 7
    assert ClusterSpec.load(folder / "a.yaml", workers=1).workers[0].count == 1
    assert ClusterSpec.load().workers[0].count == 7


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("AZRAY_WORKERS", "3", "workers.worker.count", 3),
        ("AZRAY_WORKERS", "[{name: a, count: 1}]", "workers.a.count", 1),
        ("AZRAY_LEASE", "{idle: 5m}", "lease.idle", "5m"),
        ("AZRAY_LEASE__IDLE", "300", "lease.idle", "5m"),
        ("AZRAY_HEAD__MEMORY", "2GiB", "head.memory", "2GiB"),
        ("AZRAY_HEAD__GPUS", "1", "head.gpus.count", 1),
        ("AZRAY_HEAD__GPUS__COUNT", "1", "head.gpus.count", 1),
        ("AZRAY_HEAD__LABELS__Team_A__x", "1", "head.labels.Team_A__x", "1"),
        ("AZRAY_ENV__OMP_NUM_THREADS", "4", "env.OMP_NUM_THREADS", "4"),
        ("AZRAY_AZURE__REGION", "uksouth", "azure.region.0", "uksouth"),
        ("AZRAY_AZURE__RESOURCE_GROUP", "123", "azure.resource_group", "123"),
        ("AZRAY_WORKERS__0__SPOT", "true", "workers.worker.spot", True),
    ],
)
def test_variables_are_read_by_what_stands_there(folder, variable, text, key, value):
    """Text stays text where text stands; elsewhere a variable is a YAML value."""
    assert not list(folder.iterdir())
    loaded = load(environ={variable: text})
    setting = next(s for s in loaded.settings if s.key == key)
    assert (setting.value, setting.source) == (value, f"environment {variable}")


def test_variables_that_are_not_ours_are_left_alone(folder):
    """Reserved names, Kubernetes' service links, empty and foreign variables do not touch the spec."""
    assert not list(folder.iterdir())
    foreign = {"AZRAY_HOME": "/x", "AZRAY_CLUSTER_ID": "1", "AZRAY_HEAD_SERVICE_HOST": "10.0.0.1", "AZRAY_WORKERS": ""}
    foreign |= {"AZRAY_HEAD_PORT_8265_TCP": "tcp://10.0.0.1:8265", "AZRAY_OPERATOR_X": "1", "AZRAYX": "1", "PATH": "/"}
    assert load(environ=foreign).spec == ClusterSpec()


def test_a_number_of_workers_means_the_group_that_is_there(folder):
    """A count over one written group changes that group's count and nothing else of it."""
    (folder / "azray.yaml").write_text("workers: [{name: gpu, gpus: 1, min: 0, max: 4}]\n")
    group = load(environ={}, flags={"workers": 2}).spec.workers[0]
    assert (group.name, group.count, group.min, group.max, group.gpus and group.gpus.count) == ("gpu", 2, None, None, 1)
    assert load(environ={}, flags={"workers": 0}).spec.node_names() == {"head": "head"}


def test_null_unsets_what_a_file_gave(design):
    """`--set lease.idle=null` takes a value of the file away."""
    assert design.is_file()
    assert load(environ={}, flags={"lease.idle": "null"}).spec.lease.idle is None


def test_anchors_and_merges_work(folder):
    """YAML's anchors, aliases and `<<` serve to write a node once."""
    (folder / "azray.yaml").write_text(
        "head: &node {cpus: 2, memory: 1GiB}\n"
        "workers:\n- {<<: *node, name: a, cpus: 4}\n- <<: [{cpus: 8}, *node]\n  name: b\n"
    )
    loaded = load(environ={})
    assert [(g.cpus, g.memory) for g in loaded.spec.workers] == [(4, 2**30), (8, 2**30)]
    assert loaded.sources["workers.a.memory"] == "azray.yaml:1:31"
    assert loaded.sources["workers.a.cpus"] == "azray.yaml:3:30"


def test_yaml_is_that_of_editors(folder):
    """YAML 1.2: `no` and `12:30` are text, `0x10` is a number."""
    (folder / "azray.yaml").write_text("name: no\nhead: {cpus: 0x10, labels: {country: no, on: yes}}\n")
    spec = load(environ={}).spec
    assert (spec.name, spec.head.cpus, spec.head.labels) == ("no", 16, {"country": "no", "on": "yes"})


def test_a_spec_is_frozen():
    """No part of a spec can be changed, and unknown keys fail in the models themselves."""
    spec = ClusterSpec.load({"workers": 1})
    for owner, field in ((spec, "name"), (spec.lease, "idle"), (spec.workers[0], "count")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(owner, field, None)
    with pytest.raises(pydantic.ValidationError, match=r"[Ee]xtra"):
        ClusterSpec.model_validate({"nmae": "a"})


def test_scaled_keeps_everything_else():
    """`scaled` changes the counts that it is given, and a count replaces a range."""
    spec = ClusterSpec.load({"name": "a", "workers": [{"name": "x", "min": 0, "max": 3}, {"name": "y", "count": 1}]})
    scaled = spec.scaled({"x": 2})
    assert scaled.node_names() == {"head": "head", "x-1": "x", "x-2": "x", "y-1": "y"}
    assert ClusterSpec.load(scaled.to_dict()) == scaled
    assert scaled.group("y") == spec.group("y")
