"""Bytes of a log become lines with the name of their node, however they are cut."""

from __future__ import annotations

import pytest

from azray_lab.jobs.following import LONGEST, texts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_cuts_do_not_matter(size: int) -> None:
    """Blocks may end within a line, within a character or between them."""
    log = "eins\n\nüber 🚀\nno end".encode()
    blocks = [log[start : start + size] for start in range(0, len(log), size)]
    assert "".join(texts(blocks, "[n] ")) == "[n] eins\n[n] \n[n] über 🚀\n[n] no end\n"


def test_bytes_that_are_no_text() -> None:
    """They are replaced, and the rest of the log still comes."""
    assert "".join(texts([b"a\xff\xfeb\nnext\n"], "[n] ")) == "[n] a��b\n[n] next\n"


def test_a_long_line_comes_in_pieces() -> None:
    """It has one prefix and one end, and nothing of it is kept in memory."""
    pieces = list(texts([b"x" * 50_000] * 40, "[n] "))
    assert max(map(len, pieces)) <= LONGEST + 50_000 + 4
    assert "".join(pieces) == f"[n] {'x' * 2_000_000}\n"


def test_an_empty_log() -> None:
    """Nothing gives nothing."""
    assert list(texts([], "[n] ")) == []
