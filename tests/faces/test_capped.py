"""What a cell shows of more text than a notebook can hold."""

from __future__ import annotations

from typing import Any

import nbformat
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient

from azray_lab.magics.capped import Capped


def test_little_is_shown_as_it_comes() -> None:
    """Text below the cap is written at once and nothing is added."""
    written: list[str] = []
    capped = Capped(written.append, first=10, last=5)
    for text in ("one\n", "two\n"):
        capped.write(text)
    capped.close()
    assert written == ["one\n", "two\n"]


def test_of_much_the_first_and_the_last_lines_are_shown() -> None:
    """The cut lies between lines, says where the rest is, and how many lines are missing."""
    written: list[str] = []
    capped = Capped(written.append, first=40, last=30)
    for number in range(100):
        capped.write(f"line {number:02d}\n")
    assert len(written) == 6
    assert "azray logs" in written[-1]
    capped.close()
    assert "".join(written[:5]) == "".join(f"line {number:02d}\n" for number in range(5))
    assert written[-2] == "[... 92 lines are left out here ...]\n"
    assert written[-1] == "line 97\nline 98\nline 99\n"


@settings(deadline=None)
@given(st.lists(st.text("ab\n", max_size=30)), st.integers(0, 40), st.integers(1, 40))
def test_no_text_makes_it_write_or_keep_more(texts: list[str], first: int, last: int) -> None:
    """Whatever comes in whatever pieces: it begins as it was, ends as it was, and has at most the two parts."""
    written: list[str] = []
    capped = Capped(written.append, first=first, last=last)
    for text in texts:
        capped.write(text)
    capped.close()
    ours = "".join(each.partition("[...")[0] + each.partition("...]\n")[2] for each in written)
    whole = "".join(texts)
    assert len(ours) <= first + last
    if len(whole) <= first:
        assert ours == whole
    else:
        kept = written[-1] if "[..." not in written[-1] else ""
        assert whole.endswith(kept)


def test_a_cell_of_a_kernel_holds_no_more() -> None:
    """In a real kernel 10 MB that a verb writes leave about 1 MiB in the notebook."""
    code = (
        "from azray_lab.magics.notebook import NotebookFace\n"
        "face = NotebookFace(None)\n"
        "for number in range(100_000):\n    face.write('x' * 99 + '\\n')\n"
        "face.write('the end\\n')\n"
        "face.close()\n"
    )
    cell = nbformat.v4.new_code_cell(code)  # type: ignore[no-untyped-call]
    notebook: Any = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = "".join(output.text for output in notebook.cells[0].outputs)
    assert len(shown) < 1.2 * 2**20
    assert "lines are left out here" in shown
    assert shown.endswith("the end\n")
