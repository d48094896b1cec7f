"""One document on both sides: what goes over the wire, and that both sides end with the same."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.widgets.live import Live, asset, difference

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
def test_a_view_takes_no_beat_for_the_change_that_it_lacks(node, patches, ends):
    """A beat after a change that a new view has not seen has that change's number: it asks for the whole."""
    code = _VIEW % asset("words.js", "live.js")
    command = [node, "-e", code, json.dumps(patches)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == ends


# The same page with one table; what stands below it after the first document and after each patch.
_LEFT_OUT = """
globalThis.document = {addEventListener() {}, hidden: false};
globalThis.IntersectionObserver = class { observe() {} };
globalThis.setInterval = () => 0;
%s
const note = {textContent: "", hidden: true}, heard = {}, said = [];
const element = {querySelectorAll: (which) => which.includes('"az-jobs"') ? [note] : []};
const state = JSON.parse(process.argv[1]), model = {get: (key) => state[key], on: (name, act) => (heard[name] = act)};
const tell = () => said.push(note.hidden ? null : note.textContent);
new Live(model, element, {draw() {}, tick() {}});
tell();
for (state.patch of state.patches) (heard["change:patch"](), tell());
console.log(JSON.stringify(said));
"""


def test_a_table_says_what_it_leaves_out(node):
    """One more job, many more, and none: the words are right, and where nothing is left out nothing stands."""
    texts = {"jobs.left_out.one": "1 more: {name}", "jobs.left_out.many": "{count} more: {name}"}
    changes: list[Any] = [{"count": 1}, {"count": 70, "running": 2}, {"count": 0}]
    told = [{"left_out": {"jobs": change}} for change in changes]
    patches = [{"number": number, "now": 1, "change": change} for number, change in enumerate(told, 1)]
    document = {"left_out": {"jobs": {"count": 0, "name": "<b>"}}}
    state = {"whole": {"number": 0, "now": 0, "texts": texts, "document": document}, "patches": patches}
    command = [node, "-e", _LEFT_OUT % asset("words.js", "live.js"), json.dumps(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [None, "1 more: <b>", "70 more: <b>", None]


# The same page: what it takes itself for before it has heard anything, and after a beat.
_LIVE = """
globalThis.document = {addEventListener() {}, hidden: false};
globalThis.IntersectionObserver = class { observe() {} };
globalThis.setInterval = () => 0;
%s
const now = Date.now() / 1000, heard = {};
const state = {whole: {number: 1, now: now - Number(process.argv[1]), texts: {}, document: {a: 1}}};
const model = {get: (key) => state[key], on: (name, act) => (heard[name] = act), send() {}};
const live = new Live(model, {}, {draw() {}, tick() {}}), before = live.live ?? null;
state.patch = {number: 1, now, change: {}, beat: true};
heard["change:patch"]();
console.log(JSON.stringify([before, live.live]));
"""


@pytest.mark.parametrize(("age", "taken"), [(0, None), (86400, False), (-86400, False)])
def test_what_was_saved_long_ago_is_not_live_from_the_first_moment(node, age, taken):
    """A saved card is never taken for live before it is heard; one that was just made waits for its first beat."""
    command = [node, "-e", _LIVE % asset("words.js", "live.js"), "--", str(age)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [taken, True]


# A page with a clock of its own. `steps` are what happens in it; after each it is asked what it takes itself for.
_CLOCK = """
let clock = 0, see;
performance.now = () => 1000 * clock;
Date.now = () => 1000 * (1e6 + clock);
globalThis.document = {addEventListener() {}, hidden: false};
const seeing = (act) => (see = (seen) => act([{isIntersecting: seen}]));
globalThis.IntersectionObserver = class { constructor(act) { seeing(act); } observe() {} };
globalThis.setInterval = () => 0;
%s
const heard = {}, asked = [], told = [];
const texts = {"live.not": "not live", "live.checking": "checking"};
const first = () => ({number: 1, now: 1e6, texts, document: {a: 1}});
const on = (name, act) => (heard[name] = act), set = (key, value) => (model[key] = value);
const model = {whole: first(), get: (key) => model[key], set, on, send() {}};
const made = () => new Live(model, {}, {draw() {}, tick() {}});
let live = made();
const steps = {
  see: (seen) => see(seen),
  wait: (seconds) => { for (const end = clock + seconds; clock < end; clock++) live.second(); },
  beat: () => steps.patch({number: live.number, change: {}, beat: true}),
  change: (a) => steps.patch({number: live.number + 1, change: {a}}),
  patch: (patch) => { model.patch = {...patch, now: 1e6 + clock}; heard["change:patch"](); },
  kernel: () => heard.comm_live_update(),
  again: () => (live = made()),
  saved: () => { model.whole = first(); heard["change:whole"](); },
};
for (const [what, value] of JSON.parse(process.argv[1])) {
  steps[what](value);
  told.push([String(live.live), live.notice, live.moment() - 1e6, live.document.a]);
}
console.log(JSON.stringify(told));
"""


def happens(node: str, *steps: tuple[str, Any]) -> list[list[Any]]:
    """After each step: whether the view takes itself for live, its notice, its age in seconds, and what it shows."""
    command = [node, "-e", _CLOCK % asset("words.js", "live.js"), json.dumps(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told: list[list[Any]] = json.loads(done.stdout)
    return told


def test_a_view_that_was_not_seen_for_long_is_live_only_after_a_beat(node):
    """Scrolled into the page after silence it first asks; its ages stand still until the beat, or it is not live."""
    start = (("see", True), ("beat", 0), ("see", False), ("wait", 108))
    *_, seen, soon, late = happens(node, *start, ("see", True), ("wait", 2), ("wait", 5))
    assert seen == ["undefined", "", 0, 1]
    assert soon == ["undefined", "checking", 0, 1]
    assert late == ["false", "not live", 0, 1]
    *_, answered = happens(node, *start, ("see", True), ("beat", 0))
    assert answered == ["true", "", 108, 1]


def test_a_view_whose_kernel_is_gone_knows_it_at_once(node):
    """The word of ipywidgets that the comm is gone stops the ages; without a beat the view is not live in seconds."""
    _, beat, gone, late, back = happens(node, ("see", True), ("beat", 0), ("kernel", 0), ("wait", 7), ("beat", 0))
    assert beat[0] == "true"
    assert gone == ["undefined", "", 0, 1]
    assert late == ["false", "not live", 0, 1]
    assert back == ["true", "", 7, 1]


def test_a_view_never_goes_back_in_time(node):
    """Another view of the model begins with what the first has got, and what was saved earlier replaces nothing."""
    told = happens(node, ("see", True), ("wait", 3), ("change", 2), ("again", 0), ("saved", 0), ("again", 0))
    assert [shown for *_, shown in told] == [1, 1, 2, 2, 2, 2]
    assert [age for _, _, age, _ in told][2:] == [3, 3, 3, 3]


def test_the_repr_is_short():
    """The inherited one would serialise the whole state, JavaScript included."""
    assert len(repr(Live({"a": "b" * 10_000}))) < 100
