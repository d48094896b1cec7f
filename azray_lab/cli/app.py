"""The entry point: parses, calls, shows; the one place where errors become a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from azray_lab.cli.face import TerminalFace
from azray_lab.errors import AzRayError, CancelledError
from azray_lab.spec import settings
from azray_lab.verbs.tree import COMPLETE_VARIABLE, invoke, tree

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `azray` with `arguments` (default: the process's own) and returns its exit code.

    0 done, 1 failed, 2 wrong usage, 130 interrupted; `run` returns the code of its job. What is no error of ours
    passes with its traceback.
    """
    if instruction := settings.variable(COMPLETE_VARIABLE):
        return _complete(instruction)
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Ending us is interrupting us: what an operation made is removed. So is closing our terminal, but under nohup.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        code = _run(words, TerminalFace(words))
        sys.stdout.flush()
    except BrokenPipeError:
        # `azray list | head -1`: nobody reads any more.
        _drop_stdout()
        return 1
    except OSError as error:
        if not _stdout_is_lost():
            raise
        _drop_stdout()
        sys.stderr.write(f"azray: the output cannot be written: {error.strerror}. Next: write it to another place\n")
        return 1
    return code


def _stdout_is_lost() -> bool:
    """Whether stdout takes not even one more line, as on a full disk; an error of another file is a bug."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except OSError:
        return True
    return False


def _drop_stdout() -> None:
    # Python would try, and complain, once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: Sequence[str], face: TerminalFace) -> int:
    try:
        value = invoke(words, face, program="azray")
        face.show(value)
    except AzRayError as error:
        return _fail(error, face)
    except KeyboardInterrupt:
        return _fail(CancelledError("azray was interrupted"), face)
    return _exit_code(value)


def _fail(error: AzRayError, face: TerminalFace) -> int:
    face.show_error(error)
    return error.exit_code


def _exit_code(value: Any) -> int:
    code = getattr(value, "exit_code", 0)
    return code if isinstance(code, int) else 0


def _complete(instruction: str) -> int:
    from click.shell_completion import shell_complete

    return shell_complete(tree, {}, "azray", COMPLETE_VARIABLE, instruction)
