"""One document on both sides: what goes over the wire, and that both sides end with the same."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.widgets.live import Live, asset, difference
from azray_lab.widgets.texts import TEXTS

SCALARS = st.one_of(
    st.booleans(), st.integers(-5, 5), st.text("ab<&", max_size=3), st.lists(st.integers(0, 3), max_size=3)
)
DOCUMENTS = st.recursive(
    st.dictionaries(st.sampled_from("abcdef"), SCALARS, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from("abcdef"), st.one_of(SCALARS, inner), max_size=4),
    max_leaves=12,
)


def merged(target: Any, change: Any) -> Any:
    """RFC 7386, as its section 2 has it."""
    if not isinstance(change, dict):
        return change
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_makes_the_new_document_out_of_the_old_one(old, new):
    """Whatever changes, the front end's document becomes the kernel's; nothing is sent when nothing changes."""
    patch = difference(old, new)
    assert merged(copy.deepcopy(old), patch) == new
    assert bool(patch) == (old != new)


def test_only_what_differs_is_sent():
    """A change of one node of a thousand is a patch of some bytes, and no change is none at all."""
    nodes = {f"worker-{number}": {"state": "running", "cpu": [0.0, 4.0]} for number in range(1000)}
    live = Live({"nodes": nodes})
    live.show({"nodes": copy.deepcopy(nodes)})
    assert live.patch == {}
    changed = copy.deepcopy(nodes)
    changed["worker-7"]["cpu"] = [2.0, 4.0]
    live.show({"nodes": changed})
    assert live.patch["change"] == {"nodes": {"worker-7": {"cpu": [2.0, 4.0]}}}
    assert len(json.dumps(live.patch)) < 150


def test_whoever_comes_later_gets_the_whole():
    """The state that a new front end reads holds the document as it is now, with the number of the last patch."""
    live = Live({"a": 1})
    for value in (2, 3):
        live.show({"a": value})
    whole = live.get_state("whole")["whole"]
    assert whole["document"] == {"a": 3}
    assert whole["number"] == live.patch["number"] == 2


def test_a_beat_changes_nothing():
    """A beat has the number of the last change, so that no front end takes it for one."""
    live = Live({"a": 1})
    live.show({"a": 2})
    live.beat()
    assert (live.patch["number"], live.patch["change"], live.patch["beat"]) == (1, {}, True)
    assert live.document == {"a": 2}
    live.show({"a": 3})
    assert "beat" not in live.patch


# A page without a browser: a view that begins with the whole of number 1, and what it asks for.
_VIEW = """
globalThis.document = {addEventListener() {}, hidden: false};
globalThis.IntersectionObserver = class { observe() {} };
globalThis.setInterval = () => 0;
%s
const heard = {}, asked = [], state = {whole: {number: 1, now: 0, texts: {}, document: {a: 1}}};
const model = {get: (key) => state[key], on: (name, act) => (heard[name] = act), send: (what) => asked.push(what.do)};
const live = new Live(model, {}, {draw() {}, tick() {}});
for (state.patch of JSON.parse(process.argv[1])) heard["change:patch"]();
console.log(JSON.stringify([live.number, live.document, asked]));
"""


@pytest.mark.parametrize(
    ("patches", "ends"),
    [
        ([{"number": 1, "now": 1, "change": {}, "beat": True}], [1, {"a": 1}, []]),
        ([{"number": 2, "now": 1, "change": {}, "beat": True}], [1, {"a": 1}, ["whole"]]),
        ([{"number": 2, "now": 1, "change": {"a": 2}}], [2, {"a": 2}, []]),
        ([{"number": 3, "now": 1, "change": {"a": 3}}], [1, {"a": 1}, ["whole"]]),
    ],
)
def test_a_view_takes_no_beat_for_the_change_that_it_lacks(patches, ends):
    """A beat after a change that a new view has not seen has that change's number: it asks for the whole."""
    code = _VIEW % asset("live.js")
    done = subprocess.run(
        [find("node"), "-e", code, json.dumps(patches)], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == ends


def find(program: str) -> str:
    """Where a program is; skips the test without it."""
    return shutil.which(program) or pytest.skip(f"{program}: no {program} on PATH")


def test_the_repr_is_short():
    """The inherited one would serialise the whole state, JavaScript included."""
    assert len(repr(Live({"a": "b" * 10_000}))) < 100


@pytest.mark.parametrize("name", ["card.js", "dashboard.js", "gpu_chart.js"])
def test_every_word_comes_from_the_one_place(name):
    """What the page says by a key has its text there, so that a translation misses nothing."""
    code = asset("live.js", name)
    keys = set(re.findall(r"""say\(["']([\w.]+)["']""", code))
    columns = [re.findall(r'"([\w.]+)"', found) for found in re.findall(r"table\([^[]*\[([^\]]*)\]", asset(name))]
    keys |= {f"column.{column}" for found in columns for column in found}
    assert len(keys) > 5
    assert keys - TEXTS.keys() == set()
