"""Whose option it is: those before what is run are ours, those behind it belong to it, but for a notebook."""

from __future__ import annotations

from typing import Any

import click
import pytest

from azray_lab.verbs.run import command


class Face:
    """What the parser touches of a face."""

    json = False
    events = False


def _parsed(*words: str) -> tuple[dict[str, Any], Face, bool]:
    face = Face()
    face.json = "--json" in words  # as a terminal's face looks for it before anything is parsed
    context = command.make_context("run", list(words), obj=face)
    plain = next(value for key, value in context.meta.items() if key.endswith("run.plain"))
    return context.params, face, plain


def test_a_notebook_takes_its_parameters_behind_it() -> None:
    """`azray run analysis.ipynb -p epochs 3 -o out.ipynb` has two parameters of ours and no argument."""
    given, face, plain = _parsed("analysis.ipynb", "-p", "epochs", "3", "-p", "lr", "0.1", "-o", "out.ipynb", "--json")
    assert given["what"] == "analysis.ipynb"
    assert given["arguments"] == ()
    assert given["parameters"] == (("epochs", "3"), ("lr", "0.1"))
    assert given["output"] == "out.ipynb"
    assert (face.json, plain) == (True, False)


@pytest.mark.parametrize("options", [("--json",), ("--events", "-o", "x"), ("-p", "a", "b"), ("--detach",), ("-h",)])
def test_options_behind_a_script_are_its_own(options: tuple[str, ...]) -> None:
    """None of them is ours, whatever they are called."""
    given, face, _ = _parsed("--cluster", "a", "train.py", *options)
    assert given["cluster"] == "a"
    assert given["arguments"] == options
    assert (given["detach"], given["output"], face.json, face.events) == (False, None, False, False)


@pytest.mark.parametrize("words", [("s.py", "--json"), ("x.ipynb",), ("python", "-m", "x", "-p")])
def test_behind_two_dashes_everything_is_a_command(words: tuple[str, ...]) -> None:
    """`--` ends our options, and what follows is taken as it is."""
    given, face, plain = _parsed("--json", "--", *words)
    assert (given["what"], *given["arguments"]) == words
    assert (face.json, plain) == (True, True)


def test_an_unknown_option_of_ours_is_an_error() -> None:
    """Before what is run, an option must be one of ours."""
    with pytest.raises(click.NoSuchOption):
        _parsed("--detatch", "train.py")
