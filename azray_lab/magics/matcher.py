"""Completion of `%azray` lines: verbs, flags, choices and cluster names, from the verb tree; asks no cluster."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# `%azray ...`, `%%azray ...` and `name = %azray ...`, up to the cursor.
_OURS = re.compile(r"^\s*(?:[\w.,\[\]\"' ]+=\s*)?%{1,2}azray[ \t](?P<rest>.*)$")
# More paths than anyone wants to choose from.
_MOST_PATHS = 200


@context_matcher(identifier="azray_lab.matcher")  # type: ignore[untyped-decorator]
def azray_matcher(context: CompletionContext) -> dict[str, Any]:
    """What may follow at the cursor; suppresses Python's own names as soon as it has anything to offer."""
    ours = _OURS.match(context.text_until_cursor)
    items = completions(ours["rest"], context.token) if ours else []
    return {"completions": items, "suppress": bool(items)}


def completions(rest: str, token: str) -> list[SimpleCompletion]:
    """The completions of `rest`, what stands between the magic and the cursor; each replaces `token`."""
    words, incomplete = _split(rest)
    # IPython replaces its token, which is shorter than our word where the word has `=` or `:` in it.
    value = incomplete.partition("=")[2] if incomplete.startswith("-") else incomplete
    cut = len(value) - len(token) if value.endswith(token) else 0
    return [SimpleCompletion(text=text[cut:], type="azray") for text in _texts(words, incomplete, value)]


def _split(rest: str) -> tuple[list[str], str]:
    """The words before the cursor, and the one that is being written."""
    try:
        words = shlex.split(rest)
    except ValueError:  # an open quote: the word is being written
        words = rest.split()
    if not words or rest[-1:].isspace():
        return words, ""
    return words[:-1], words[-1]


def _texts(words: list[str], incomplete: str, value: str) -> list[str]:
    # Where there is nothing to name, the flags are what can come next; Python's names never are.
    items = _items(words, incomplete) or ([] if incomplete else _items(words, "-"))
    texts: list[str] = []
    for item in items:
        texts += _paths(value) if item.type in {"file", "dir"} else [item.value]
    return texts


def _items(words: list[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import ShellComplete

    from azray_lab.verbs.tree import tree

    return ShellComplete(tree, {}, "%azray", "").get_completions(words, incomplete)


def _paths(incomplete: str) -> list[str]:
    start = incomplete.rpartition("/")[2]
    prefix = incomplete[: len(incomplete) - len(start)]
    try:
        found = sorted(entry.name + "/" * entry.is_dir() for entry in Path(prefix or ".").iterdir())
    except OSError:  # no such folder: nothing to offer
        return []
    return [prefix + name for name in found if name.startswith(start)][:_MOST_PATHS]
