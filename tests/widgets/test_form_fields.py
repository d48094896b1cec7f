"""The spec's models as settings of a form: any model has a place in it, and text and values mean each other."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from azray_lab.errors import SpecError
from azray_lab.spec.models import ClusterSpec, Model
from azray_lab.widgets.form_controls import Context
from azray_lab.widgets.form_fields import (
    BASIC,
    MISSING,
    ONLY,
    Many,
    Section,
    Setting,
    settings_of,
    text_of,
    tree,
    value_of,
)
from azray_lab.widgets.form_sections import Fields
from azray_lab.widgets.form_texts import label_of

BY_KEY = {setting.key: setting for setting in settings_of(tree())}


class Inner(Model):
    """A section that a later version may have."""

    depth: int = Field(default=1, examples=[2])
    words: tuple[str, ...] = ()


class Later(ClusterSpec):
    """A spec with settings of kinds that there are, and of one that there is not."""

    flag: bool = False
    maybe: bool | None = None
    colour: Literal["red", "green"] | None = None
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    nested: dict[str, dict[str, int]] = Field(default={})
    odd: tuple[tuple[int, int], ...] = ()


def _part(key: str) -> Any:
    here: Any = tree(Later)
    for name in key.split("."):
        here = next(part for part in here.parts if part.name == name)
    return here


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("flag", "switch"),
        ("maybe", "choice"),
        ("colour", "choice"),
        ("inner.depth", "text"),
        ("inner.words", "list"),
        ("nested", "mapping"),
        ("odd", "text"),
    ],
)
def test_a_new_field_has_its_place(key, kind):
    """A field that is added to the models is a setting of the right kind, with a label, among the advanced ones."""
    part = _part(key)
    assert isinstance(part, Setting)
    assert (part.kind, part.basic) == (kind, False)
    assert label_of(part.key)


def test_a_new_field_can_be_typed():
    """The form that is drawn of a changed model reads what was typed into its new fields, of whatever kind."""
    drawn = Fields(tree(Later), Context(lambda *_: None, frozenset({"local"}), lambda work: lambda *_: work()))
    data: dict[str, Any] = {"flag": True, "maybe": False, "colour": "green", "inner": {"depth": 3, "words": ["a", "b"]}}
    data |= {"many": [{"depth": 2}, {}], "nested": {"a": {"b": 1}}, "odd": [[1, 2], [3, 4]]}
    drawn.fill(data)
    reading: Any = type("Reading", (), {"places": {}, "problems": {}})()
    assert drawn.read((), reading) == data
    assert Later.model_validate(data).model_dump(mode="json", exclude_defaults=True) == data | {
        "inner": {"depth": 3, "words": ["a", "b"]}
    }
    assert reading.problems == {}


def test_the_kinds_of_parts_are_those_of_the_models():
    """Sections, lists and settings stand for models, lists of models and everything else."""
    assert isinstance(_part("inner"), Section)
    assert isinstance(_part("many"), Many)
    assert isinstance(_part("odd"), Setting)


def test_what_the_form_names_is_there():
    """Each key that the form treats in its own way is a key of the models."""
    sections = {key.rpartition(".")[0] for key in BY_KEY}
    assert set(BY_KEY) >= BASIC
    assert sections | set(BY_KEY) >= set(ONLY)


TYPED = [key for key, setting in BY_KEY.items() if setting.kind not in {"choice", "switch"} and setting.info.examples]


@pytest.mark.parametrize("key", TYPED)
def test_an_example_means_what_it_shows(key):
    """The example of each field, typed as it is shown, is the value that the models take."""
    setting = BY_KEY[key]
    assert text_of(setting, value_of(setting, setting.example)) == setting.example


_keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,8}", fullmatch=True) | st.text(min_size=1, max_size=5)
# What has more than 30 digits is no whole number to the reader of specs.
_integers = st.integers(-(10**29), 10**29)
_mapped = st.dictionaries(_keys, st.text(max_size=8), max_size=4)


@settings(deadline=None)
@given(_mapped)
def test_a_mapping_of_texts_reads_as_it_was_written(values):
    """Any keys and texts, spaces, quotes, line ends and colons among them, come back from the lines in the field."""
    written = text_of(BY_KEY["env"], values)
    found = value_of(BY_KEY["env"], written)
    assert ({} if found is MISSING else found) == values
    assert len(written.splitlines()) <= len(values)


@settings(deadline=None)
@example({"a": "\n", "b": "x\x85'"})
@given(st.dictionaries(_keys, _integers | st.booleans() | st.text(max_size=8), max_size=4))
def test_a_mapping_of_any_scalars_reads_as_it_was_written(values):
    """Numbers stay numbers and texts that look like numbers stay texts."""
    setting = BY_KEY["mounts.options"]
    found = value_of(setting, text_of(setting, values))
    found = {} if found is MISSING else found
    assert found == values
    assert [type(value) for value in found.values()] == [type(value) for value in values.values()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=1", {"A": "1"}),
        ("A: 1\n\n  B : x y ", {"A": "1", "B": "x y"}),
        ("URL: http://a:80/?b=c", {"URL": "http://a:80/?b=c"}),
        ("A=b: c", {"A": "b: c"}),
        ('A: " x "', {"A": " x "}),
        ("A:", {"A": ""}),
    ],
)
def test_lines_are_read_as_people_write_them(text, value):
    """`KEY: value` and `KEY=value`, with free spaces; the first sign that ends a key counts."""
    assert value_of(BY_KEY["env"], text) == value


@pytest.mark.parametrize(("text", "said"), [("A", "no colon"), ("A=1\nA=2", "twice"), ('"A', "no colon")])
def test_lines_that_cannot_be_read_are_told(text, said):
    """A line without a colon and a key that stands there twice are errors of the field."""
    with pytest.raises(SpecError, match=said):
        value_of(BY_KEY["env"], text)
