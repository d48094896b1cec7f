"""The form as a value: what is typed, what it says, and what its buttons do; without a browser."""

from __future__ import annotations

import gc
import re
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ipywidgets.widgets import widget

import azray_lab
from azray_lab.errors import SpecError, UnknownNameError
from azray_lab.spec import ClusterSpec, load
from azray_lab.widgets import form_texts
from azray_lab.widgets.form import Form, ui
from azray_lab.widgets.form_fields import Setting, settings_of, tree

calm = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
WRONG = {
    "name": "Team A",
    "vm_size": "D8 v5",
    "cpus": "four",
    "gpus.count": "-1",
    "gpus.type": "A 100",
    "memory": "lots",
    "object_store_memory": "1",
    "resources": "CPU: 1",
    "labels": "ray.io/x: 1",
    "count": "1001",
    "min": "many",
    "max": "4.5",
    "gpu": "A100:0",
    "path": "mnt",
    "uri": "az://a/b?sig=1",
    "options": "x: [1]",
    "idle": "30 minutes",
    "env": "A B: 1",
    "azure.region": "uksouth, UK South",
    "resource_group": "rg.",
    "subscription": "me",
    "dashboard_port": "80",
    "object_store_directory": "scratch",
}
"""A wrong text for each setting, by the longest ending of its key."""
WRONG |= {"lease.max": "0", "workers.name": "head"}
BASE: dict[str, Any] = {
    "name": "a",
    "head": {"gpus": {"count": 0}},
    "workers": [{"count": 1, "gpus": {"count": 0}}],
    "mounts": [{"uri": "az://data", "path": "/mnt/data"}],
}
TEXTS = [setting for setting in settings_of(tree()) if setting.kind not in {"choice", "switch"}]


def _wrong(setting: Setting) -> str | None:
    parts = setting.key.split(".")
    return next((WRONG[end] for i in range(len(parts)) if (end := ".".join(parts[i:])) in WRONG), None)


@pytest.fixture
def form() -> Form:
    """A form with one worker group and one mount, in which nothing is wrong."""
    return ui(BASE)


def _at(setting: Setting) -> str:
    """The key of a setting in that form."""
    first, _, rest = setting.key.partition(".")
    return f"{first}.0.{rest}" if first in {"workers", "mounts"} else setting.key


def _notes(form: Form, key: str) -> str:
    """What stands beside the field of `key`."""
    place = form._reading.places[key]
    return " ".join(child.value for child in place.box.children[1:])


def test_every_field_has_a_wrong_text():
    """A new setting that can be typed gets its entry in WRONG."""
    assert [setting.key for setting in TEXTS if _wrong(setting) is None] == []


@pytest.mark.parametrize("setting", TEXTS, ids=[setting.key for setting in TEXTS])
def test_a_wrong_text_is_told_beside_its_field(form, setting):
    """What is wrong stands beside the field, in its title, and in the line below the YAML; mended, it is gone."""
    key, before = _at(setting), form.yaml
    field = form.field(key)
    right = field.value
    field.value = _wrong(setting)
    assert [*form.problems] == [key]
    assert "azray-wrong" in _notes(form, key)
    assert field.tooltip.startswith("Not right: ")
    assert form_texts.label_of(setting.key) in form._view.yaml.status
    assert form._view.yaml.wrong
    with pytest.raises(SpecError):
        _ = form.spec
    field.value = right
    assert form.problems == {}
    assert "azray-wrong" not in _notes(form, key)
    assert (form.yaml, form._view.yaml.status) == (before, "The spec is complete.")


def test_a_wrong_advanced_field_is_unfolded(form):
    """What is folded away shows itself when something in it is wrong."""
    assert "azray-all" not in form.widget._dom_classes
    form.field("local.dashboard_port").value = "80"
    assert "azray-all" in form.widget._dom_classes


def test_what_is_needed_is_named(form):
    """An empty field without a default says what it wants, and checks across fields stand at one of them."""
    form.field("mounts.0.uri").value = ""
    assert "needed, such as az://" in _notes(form, "mounts.0.uri")
    form.fill({"workers": [{"min": 0}]})
    form.field("workers.0.max").value = "3"
    form.field("workers.0.min").value = "4"
    assert "min (4) is above max (3)" in _notes(form, "workers.0.min")


def test_what_is_wrong_stands_as_text(form):
    """What was typed is text in the form and in its static HTML, whatever it looks like."""
    evil = "<img src=x onerror=alert(1)>"
    form.field("name").value = evil
    form.field("lease.idle").value = evil
    assert "<img" not in _notes(form, "lease.idle") + form._repr_html_()
    assert "&lt;img" in _notes(form, "lease.idle")
    assert evil in form.yaml


def test_only_what_differs_stands_in_the_yaml():
    """Defaults are left out, also those that were typed."""
    form = ui({})
    assert form.yaml == "name: default\ntarget: local\n"
    form.field("head.cpus").value = "2"
    form.field("target").value = "dsvm"
    assert form.yaml == "name: default\ntarget: dsvm\nhead:\n  cpus: 2\n"
    form.field("head.cpus").value = ""
    form.field("target").value = "local"
    assert form.yaml == "name: default\ntarget: local\n"


def test_a_target_of_a_later_version_says_so():
    """Choices, and fields that only later targets use, say that this version does not have them."""
    form = ui({})
    form.field("target").value = "aks"
    assert "does not run aks yet" in _notes(form, "target")
    assert all("not in this version" in label for label, value in form.field("target").options if value != "local")
    assert "not used by aks" in _notes(form, "local.dashboard_port")
    form.field("target").value = "local"
    assert "does not run" not in _notes(form, "target")
    assert "dsvm, aks only: not in this version" in _notes(form, "azure.region")


def test_groups_come_and_go(form):
    """Adding gives an entry with a name of its own; removing takes that very one, and the rest stay as they were."""
    items = form._view.fields.parts["workers"]
    items.add_button.click()
    items.add_button.click()
    assert [group.name for group in form.spec.workers] == ["worker", "worker-2", "worker-3"]
    _button(items.items[1], "Remove worker group 2").click()
    assert [group.name for group in form.spec.workers] == ["worker", "worker-3"]
    items.add_button.click()
    assert form.problems == {}
    assert len({group.name for group in form.spec.workers}) == 3


def _button(item: Any, words: str) -> Any:
    button = item.box.children[0].children[1]
    assert button.description == words
    return button


def test_filling_shows_another_spec(form, tmp_path):
    """A form can be filled again, from a file as well; nothing of the former spec stays."""
    file = tmp_path / "azray.yaml"
    file.write_text("name: b\nworkers: [{name: gpu, gpus: 2}, {name: cpu}]\nlease: {max: 8h}\n")
    form.field("env").value = "A: 1"
    form.fill(str(file), workers=[{"name": "one"}])
    assert form.yaml == "name: b\ntarget: local\nworkers:\n- name: one\nlease:\n  max: 8h\n"


def test_ui_takes_what_up_takes(tmp_path, monkeypatch):
    """A file, a mapping, a spec, overrides, and without any the `azray.yaml` of the folder; wrong ones are refused."""
    (tmp_path / "azray.yaml").write_text("name: here\n")
    monkeypatch.chdir(tmp_path)
    assert azray_lab.ui().spec.name == "here"
    assert azray_lab.ui("azray.yaml", workers=2).spec.workers[0].count == 2
    assert azray_lab.ui(ClusterSpec(name="x")).spec.name == "x"
    with pytest.raises(SpecError, match="wrokers"):
        azray_lab.ui({"wrokers": 2})


def test_an_unknown_field_names_the_nearest(form):
    """`field` of a key that is not there says which was probably meant."""
    with pytest.raises(UnknownNameError, match=r"lease\.idle"):
        form.field("lease.idel")


def test_an_unknown_button_names_the_buttons(form):
    """`button` of a name that is not there says which there are."""
    with pytest.raises(UnknownNameError, match="its buttons are plan, up"):
        form.button("nope")


def test_places_that_are_named_alike_can_be_told_apart(form):
    """What is wrong in the GPUs of the head and in those of a group is named by head and group."""
    for place in ("head", "workers.0"):
        form.field(f"{place}.gpus.count").value = "x"
        form.field(f"{place}.gpus.type").value = "A 100"
    places = "Head node: GPUs, Head node: GPU type, Worker group 1: GPUs, Worker group 1: GPU type"
    assert form._view.yaml.status == f"To mend: {places}."


@pytest.mark.parametrize("text", ["[1", "1: 2: 3", "{"])
def test_what_is_no_value_at_all_is_told_without_the_words_of_a_file(form, text):
    """Text that YAML cannot read is refused in words that fit a field, which has neither lines nor keys."""
    form.field("head.cpus").value = text
    assert form.problems == {"head.cpus": f"{text!r} cannot be read as a value"}


def _alive() -> set[str]:
    """The widgets of this process that are not closed."""
    return set(widget._instances)


def test_a_form_that_nobody_sees_has_no_widgets():
    """A spec can be read, filled and shown as text without a widget; the first look at a field makes them."""
    before = _alive()
    form = ui(BASE)
    form.fill(BASE, name="b")
    assert (form.spec.name, form.problems, form.to_dict()["name"]) == ("b", {}, "b")
    assert form.yaml in repr(form)
    form._repr_mimebundle_()
    assert _alive() == before
    assert form.field("name").value == "b"
    assert len(_alive() - before) > 100


@pytest.mark.usefixtures("fresh_home")
def test_what_goes_leaves_no_widget_behind():
    """Removed groups, earlier plans and a closed form leave none of their widgets, nor the models of their layouts."""
    before = _alive()
    form = ui(BASE)
    items: Any = form._view.fields.parts["workers"]
    one = len(_alive())
    items.add_button.click()
    items.items[-1].box.children[0].children[1].click()
    assert len(_alive()) == one
    for _ in range(2):
        form.button("plan").click()
        form.wait(60)
    assert len(_alive()) == one + 3  # the table, its layout and its style
    form.field("name").value = "kept"
    fields = weakref.ref(form._view.fields)
    form.close()
    assert _alive() == before
    del items
    gc.collect()
    assert fields() is None, "a cell's outputs remember each form that it made"
    assert form.spec.name == "kept"
    assert form.field("name").value == "kept"
    form.close()


def test_without_a_front_end_it_is_text(form):
    """What papermill and nbconvert keep is text and HTML that say what was chosen and how to go on."""
    bundle = form._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert form.yaml in bundle["text/plain"]
    assert "mounts.0.path</th>" in bundle["text/html"]
    assert all("azray_lab.up(form.spec)" in text for text in bundle.values())


_words = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda word: word != "head")
_Data = st.SearchStrategy[dict[str, Any]]
_node: dict[str, st.SearchStrategy[Any]] = {
    "cpus": st.integers(0, 1024),
    "gpus": st.fixed_dictionaries({"count": st.integers(0, 64)}, optional={"pretend": st.booleans()}),
    "memory": st.integers(1, 2**50),
    "resources": st.dictionaries(_words, st.integers(0, 9), max_size=2),
    "labels": st.dictionaries(_words, _words | st.just(""), max_size=2),
}
_group: _Data = st.fixed_dictionaries(
    {"name": _words}, optional={**_node, "count": st.integers(0, 9), "spot": st.booleans(), "gpu": st.just("A100:8")}
)
_mount: _Data = st.fixed_dictionaries(
    {"uri": _words.map("az://data/%2b #{}: 'x".format), "path": _words.map("/mnt/{}".format)},
    optional={
        "profile": st.sampled_from(["dataset", "shared"]),
        "read_only": st.booleans() | st.none(),
        "options": st.dictionaries(st.text(), st.booleans() | st.integers(-9, 10**29) | st.text(), max_size=2),
    },
)
_specs: _Data = st.fixed_dictionaries(
    {},
    optional={
        "name": _words,
        "target": st.sampled_from(["local", "dsvm", "aks"]),
        "head": st.fixed_dictionaries({}, optional=_node),
        "workers": st.lists(_group, max_size=2, unique_by=lambda group: group["name"]),
        "mounts": st.lists(_mount, max_size=2, unique_by=lambda mount: mount["path"]),
        "lease": st.fixed_dictionaries({}, optional={"idle": st.integers(1, 9**9 // 2), "max": st.just("10d")}),
        "env": st.dictionaries(st.from_regex(r"[B-Z_]{1,4}", fullmatch=True), st.text(max_size=5), max_size=2),
        "azure": st.fixed_dictionaries({}, optional={"region": st.lists(st.just("uksouth"), max_size=2)}),
        "local": st.fixed_dictionaries({}, optional={"dashboard_port": st.integers(1024, 65535)}),
    },
)


@pytest.mark.slow
@calm
@given(_specs)
@example({"mounts": [{"uri": "az://data", "path": "/a", "options": {"\x85/": "b\u2028c", "": "\r"}}]})
def test_what_the_form_writes_is_the_spec(data):
    """Any spec that fills the form is what the form says, and what its YAML loads as."""
    try:
        spec = load(data).spec
    except SpecError:  # an idle limit above the age limit, say
        return
    form = ui(spec)
    assert form.problems == {}
    assert form.spec == spec
    assert load(None, text=form.yaml, environ={}).spec == spec


ODD = ("0", "1", "30m", "{}", "{", "[a]", "a:1", "~", "a: &x", "9" * 40, "\x00", "\ud800")


@pytest.mark.slow
@calm
@given(st.dictionaries(st.sampled_from(TEXTS).map(_at), st.text() | st.sampled_from(ODD)))
def test_whatever_is_typed_is_right_or_told(typed):
    """Any texts in any fields make a spec that its YAML loads as, or problems at places of the form; never an error."""
    form = ui(BASE)
    for key, text in typed.items():
        form.field(key).value = text
    if not form.problems:
        assert load(None, text=form.yaml, environ={}).spec == form.spec
    assert set(form.problems) <= set(form._reading.places)
    assert form._view.yaml.text == form.yaml


def test_threads_may_type_at_once(form):
    """Callbacks on several threads leave a form that says what its fields hold."""
    keys = ("head.cpus", "workers.0.cpus", "lease.idle", "name")

    def work(key: str) -> None:
        for number in range(1, 40):
            form.field(key).value = f"{number}" if key != "name" else f"n{number}"

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spec = form.spec
    assert (spec.name, spec.head.cpus, spec.workers[0].cpus, spec.lease.idle) == ("n39", 39, 39, 39)
    assert load(None, text=form._view.yaml.text, environ={}).spec == spec


def test_threads_may_add_and_remove_at_once(form):
    """Groups that are added and removed on several threads are all there, each with its own name."""
    items = form._view.fields.parts["mounts"]

    def work() -> None:
        for _ in range(5):
            items.add_button.click()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(items.items) == 21
    assert [item.label for item in items.items] == [f"Mount {number}" for number in range(1, 22)]


# Texts.


def test_every_text_is_there_and_used():
    """Each text that the form says has its entry, and no entry is left over."""
    folder = Path(form_texts.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("form*.py") if path.name != "form_texts.py")
    source += (folder / "form_texts.py").read_text().partition("def say")[2]
    source = source.replace("'", '"')
    said = set(re.findall(r'say\(\s*"([a-z.]+)"', source))
    assert said <= set(form_texts.TEXTS)
    # `"label.` begins the keys that are put together: f"label.{key}".
    left = [key for key in form_texts.TEXTS if f'"{key}"' not in source and f'"{key.partition(".")[0]}.' not in source]
    assert left == []


def test_a_translation_is_one_mapping(monkeypatch):
    """Replaced texts appear in a form that is made afterwards."""
    monkeypatch.setitem(form_texts.TEXTS, "label.name", "Nom")
    monkeypatch.setitem(form_texts.TEXTS, "up", "Lancer")
    form = ui({})
    assert form.field("name").description == "Nom"
    assert form.button("up").description == "Lancer"
