"""Every text for people in one place: none stands elsewhere, none is missing or left over, and plurals are right."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azray_lab import views
from azray_lab.hardware import report
from azray_lab.widgets import form_texts, texts
from azray_lab.widgets.live import asset

FOLDER = Path(texts.__file__).parent
TEXT_MODULES = {"texts.py", "form_texts.py"}
MODULES = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in TEXT_MODULES)
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.js"))
# What has letters and spaces and is read by no person: by file, with what it is for.
NO_TEXTS = {
    "card.js": {"noopener noreferrer"},  # the `rel` of a link
    "form_controls.py": {"write it"},  # looked for in the spec's own words
    "form_yaml.js": {"change:text change:status change:wrong"},  # names of events
    "cluster.py": {" Next: "},  # where the text of an error has its next step
    "live.js": {"azray: the kernel cannot be reached"},  # the browser's console, for whoever debugs
    "live.py": {"export default { render() {} }"},  # a program
}
_MARKUP = re.compile(r"<[^<>]*>|&#?\w+;")
# Classes, and ids that are made of one.
_CLASSES = re.compile(r"(az-\S+|\{\}(-\w+)?|\s)+")
# The path of an SVG; `{}` stands for what a template fills in.
_DRAWING = re.compile(r"[MLHVACQZmlhvacqz\d.,{} -]+")
_UNIT = re.compile(r"\{\}\s*[^\W\d_{}]+\s*$")


def is_text(literal: str) -> bool:
    """Whether people would read it: letters and a space, or a number with a unit, beside markup, classes, drawings."""
    bare = _MARKUP.sub("", literal)
    if _CLASSES.fullmatch(bare) or _DRAWING.fullmatch(bare):
        return False
    return bool(re.search(r"[^\W\d_]", bare.replace("{}", ""))) and (" " in bare or bool(_UNIT.fullmatch(bare)))


def literals_of_python(code: str) -> Iterator[str]:
    """The strings of a module but docstrings; what an f-string fills in is `{}`."""
    tree = ast.parse(code)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | said:
            yield node.value


_SKIPPED = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED = re.compile(r""""((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'""")
_PATTERN = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n])+/\w*")


def literals_of_javascript(code: str) -> list[str]:
    """The strings of a script, also those inside of what a template fills in; that itself is `{}`."""
    found: list[str] = []
    _scan(code, 0, found, ends="")
    return found


def _scan(code: str, at: int, found: list[str], *, ends: str) -> int:
    """Reads code from `at` until the sign `ends` closes what was opened before; returns where it went on."""
    before, depth = "", 0
    while at < len(code):
        sign = code[at]
        if hit := _SKIPPED.match(code, at):
            at = hit.end()
        elif hit := _QUOTED.match(code, at):
            found.append(hit[1] or hit[2] or "")
            at, before = hit.end(), '"'
        elif sign == "`":
            at, before = _template(code, at + 1, found), "`"
        elif sign == "/" and before in "(,=:!&|?{};[" and (hit := _PATTERN.match(code, at)):
            at, before = hit.end(), "/"
        elif sign == ends and not depth:
            return at + 1
        else:
            depth += (sign == "{") - (sign == "}")
            at, before = at + 1, before if sign.isspace() else sign
    return at


def _template(code: str, at: int, found: list[str]) -> int:
    text = ""
    while code[at] != "`":
        if code.startswith("${", at):
            at, text = _scan(code, at + 2, found, ends="}"), text + "{}"
        else:
            step = 2 if code[at] == "\\" else 1
            at, text = at + step, text + code[at : at + step]
    found.append(text)
    return at + 1


@pytest.mark.parametrize("name", [*MODULES, *SCRIPTS])
def test_no_text_for_people_stands_beside_the_texts(name):
    """Whoever translates the dictionaries has translated the widgets."""
    code = (FOLDER / name).read_text()
    literals = literals_of_python(code) if name.endswith(".py") else literals_of_javascript(code)
    found = {literal for literal in literals if is_text(literal)}
    assert found == NO_TEXTS.get(name, set()), "a text, or an exception that is none any more"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('put(node, "Not live");', ["Not live"]),
        ("x = `${f('It is {lost}')} of`; // 'a comment'", ["It is {lost}", "{} of"]),
        ("/* 'a b' */ s.replace(/'a b' `/g, '').split(\"/\") / 2; y = 'after it'", ["after it"]),
        ("`${size} GiB`", ["{} GiB"]),
        ("`${degrees}°C`", []),
        ("`az-button ${kind}`; 'M2 6.5 5 9.5'; `M${x} ${y}`; 'az-danger az-primary'", []),
    ],
)
def test_the_scan_of_javascript_finds_texts(code, found):
    """Strings, templates and what is inside of them are seen; comments, patterns, classes and drawings are not."""
    assert sorted(filter(is_text, literals_of_javascript(code))) == sorted(found)


def test_the_scan_of_python_finds_texts():
    """Strings and f-strings are seen, docstrings are not."""
    code = '"""A docstring."""\nx = f"{n} nodes" + "a word" + "word" + f"<p class=\'a b\'>{n}</p>"'
    assert sorted(filter(is_text, literals_of_python(code))) == ["a word", "{} nodes"]


_HTML = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|createContextual|eval\(|Function\(")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_takes_text_for_html_or_code(name):
    """Names, log lines and errors reach the page as text, for nothing in it makes anything else of a text."""
    assert _HTML.findall(asset(name)) == []


# What is said is there, and what is there is said.

SAID = re.compile(r"""say\(\s*["']([\w.]+)["']""")


def keys_of(code: str) -> set[str]:
    """The keys that a module or a script says by name."""
    return set(SAID.findall(code))


def forms(key: str) -> set[str]:
    """The entries that a key may mean."""
    return {key} if key in texts.TEXTS else {f"{key}.one", f"{key}.many"}


@pytest.mark.parametrize("name", ["card.js", "dashboard.js", "gpu_chart.js"])
def test_what_the_page_says_is_there(name):
    """Each key, and each column of a table, has its text; a missing one would show its key."""
    columns = [re.findall(r'"([\w.]+)"', found) for found in re.findall(r"table\([^[]*\[([^\]]*)\]", asset(name))]
    keys = keys_of(asset("words.js", "live.js", name)) | {f"column.{column}" for found in columns for column in found}
    assert len(keys) > 5
    assert set().union(*map(forms, keys)) - texts.TEXTS.keys() == set()


def test_no_text_is_left_over():
    """Each entry is said somewhere, by its name or by a name that is put together, such as `state.${state}`."""
    code = "".join(asset(path) for path in SCRIPTS)
    code += "".join((FOLDER / name).read_text() for name in MODULES if not name.startswith("form"))
    named = set(re.findall(r"""["'`]([\w.]+)["'`]""", code))
    begun = tuple(re.findall(r"""["'`]([\w.]+\.)\$?\{""", code))
    ended = tuple(re.findall(r"\}(\.[\w.]+)[\"'`]", code))
    named |= {f"{name}{form}" for name in named for form in (".one", ".many")} | {f"column.{name}" for name in named}
    left = [key for key in texts.TEXTS if key not in named and not key.startswith(begun)]
    assert [key for key in left if not re.sub(r"\.(one|many)$", "", key).endswith(ended)] == []


def test_the_columns_of_the_report_have_texts():
    """The GPU report's own tables are shown in the chart under translated names."""
    names = {*report._COLUMNS, *report._HOLDERS}
    assert {f"report.{name}" for name in names} == {key for key in texts.TEXTS if key.startswith("report.")}


@pytest.mark.parametrize("found", [texts.TEXTS, form_texts.TEXTS], ids=["cards", "form"])
def test_what_counts_has_both_forms(found):
    """One without many, or the other way round, would be a KeyError for some number."""
    assert {key[:-4] for key in found if key.endswith(".one")} == {key[:-5] for key in found if key.endswith(".many")}


# Both sides say the same.


def in_javascript(node: str, expression: str, found: dict[str, str]) -> Any:
    """The value of an expression over words.js with these texts."""
    code = f"{asset('words.js')}\nwords = {json.dumps(found)};\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


COUNTED = {"sheep.one": "1 sheep in {place}", "sheep.many": "{count} sheep in {place}", "plain": "{count} {name}"}


def test_one_and_many_on_both_sides(node: str):
    """0, 1 and 2 take the right form, and a field that looks like another field stays as it is."""
    counts = [0, 1, 2, 1000]
    wild = "{count} <b>"
    expected = [texts.fill(COUNTED, "sheep", count=count, place=wild) for count in counts]
    assert expected[:3] == [f"0 sheep in {wild}", f"1 sheep in {wild}", f"2 sheep in {wild}"]
    expression = f"{counts}.map((count) => say('sheep', {{ count, place: {json.dumps(wild)} }}))"
    assert in_javascript(node, expression, COUNTED) == expected
    assert in_javascript(node, "say('plain', { count: 1, name: 'a' })", COUNTED) == "1 a"


def test_every_counting_text_is_right_for_one():
    """No text says `1 nodes`: what has a noun behind `{count}` has its own form for one."""
    plural = re.compile(r"\{count\} (?!x$|shown|in all|of )\w+")
    wrong = [key for key, text in texts.TEXTS.items() if plural.search(text) and not key.endswith(".many")]
    assert wrong == ["nodes.all"], "said of more than fifty nodes only"


@pytest.mark.parametrize("value", [0.0, 0.44, 9.94, 10, 99.4, 100, 200, 3599, 7500, 86399, 273_600])
def test_a_time_is_said_as_in_text_and_html(node: str, value: float):
    """The page and `views.seconds` have the same words for a time, but for an empty smaller unit."""
    said = re.sub(r" 0 (s|min|h)$", "", views.seconds(value)) if value >= 100 else views.seconds(value)
    assert in_javascript(node, f"duration({value})", texts.TEXTS) == said


def test_a_translation_reaches_units_and_plurals(node: str):
    """Units and forms come from the dictionary as well, in the order that a language wants."""
    german = {**texts.TEXTS, "time.h.min": "{h} Std. {min} Min.", "size": "{size} Gio", "share": "%{percent}"}
    assert in_javascript(node, "[whole(7500), size(3 * 2 ** 30), percent(0.5), percent(null)]", german) == [
        "2 Std. 5 Min.",
        "3 Gio",
        "%50",
        "-",
    ]
