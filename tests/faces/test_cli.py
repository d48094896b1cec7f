"""The terminal's face: exit codes, JSON, help, typos, pipes, signals; each in a real process."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from azray_lab import registry
from azray_lab.targets.base import Handle
from azray_lab.verbs.tree import SHORT_HELP, VERBS

PROGRAM = str(Path(__file__).parent / "programs" / "azray_count.py")
Until = Callable[[Callable[[], Any], str], Any]


def test_help_lists_every_verb_and_imports_none(azray):
    """`azray --help` names all verbs from the table alone, and so does `azray` without a word."""
    shown = azray("--help")
    assert shown.code == 0
    assert all(f"  {name} " in shown.out for name in VERBS)
    assert azray().out == shown.out == azray("-h").out
    script = (
        "import sys; from azray_lab.cli import main; main(['--help']);"
        "print([m for m in sys.modules if m in %r])" % [*VERBS.values()]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_has_help_example_and_json(azray, name):
    """Each verb's help has its line of the table, an example and, on it or below it, `--json`; `-h` is everywhere."""
    shown = azray(name, "-h")
    assert shown.code == 0, shown.err
    assert SHORT_HELP[name].split(";")[0].rstrip(".") in " ".join(shown.out.split())
    assert f"azray {name}" in shown.out.partition("Example:")[2]
    assert "--json" in shown.out or "Commands:" in shown.out or "Verbs:" in shown.out


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["dwon"], "the nearest is 'down'"),
        (["up", "--wrokers", "2"], "the nearest is '--workers'"),
        (["completion", "bsh"], "'bash'"),
        (["scale", "a"], "WORKERS"),
    ],
)
def test_typo_is_usage_and_names_the_nearest(azray, words, near):
    """A wrong verb, flag, choice or a missing word ends with 2, one line, and what was probably meant."""
    shown = azray(*words)
    assert (shown.code, shown.out) == (2, "")
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("azray: ")
    assert near in shown.err


def test_error_is_json_on_stdout_and_a_line_on_stderr(azray):
    """Under --json an error is one document on stdout, also when the words could not be parsed."""
    shown = azray("up", "--wrokers", "2", "--json")
    assert shown.code == 2
    assert shown.document["error"]["code"] == "Usage"
    assert shown.err.startswith("azray: ")


def test_value_is_text_or_one_document(azray_count, folder):
    """A verb's value goes to stdout, as text or as JSON; the progress goes to stderr."""
    (folder / "go").touch()
    plain = azray_count("count", str(folder))
    assert (plain.code, plain.out) == (0, "counted 2\n")
    assert "second done" in plain.err
    assert "note: a note" in plain.err
    assert azray_count("count", str(folder), "--json").document == {"count": 2}


def test_events_are_json_lines_that_end_with_the_result(azray_count, folder):
    """With --events stdout holds one JSON object a line; the last one is the value."""
    (folder / "go").touch()
    events = [json.loads(line) for line in azray_count("count", str(folder), "--events").out.splitlines()]
    assert [e["stage"] for e in events if e["event"] == "started"] == ["first", "second"]
    assert events[-1] == {"event": "result", "value": {"count": 2}}


def test_events_end_with_the_error(azray_count, folder):
    """A failed operation's last line is its error, and the exit code is 1."""
    (folder / "go").touch()
    shown = azray_count("count", str(folder), "--fail", "--events")
    last = json.loads(shown.out.splitlines()[-1])
    assert shown.code == 1
    assert last["error"]["facts"] == {"port": 1}
    assert shown.err == "azray: it did not start: it was told to fail. Next: azray count\n"


def test_bug_keeps_its_traceback(azray_count, folder):
    """What is no error of ours is shown with its traceback."""
    shown = azray_count("count", str(folder), "--bug")
    assert shown.code == 1
    assert "Traceback" in shown.err
    assert "ZeroDivisionError" in shown.err


def test_question_in_a_pipe_is_usage(azray_count, folder):
    """Where nobody can be asked, the verb ends with 2 and names --yes."""
    shown = azray_count("count", str(folder), "--ask", stdin="y\n")
    assert shown.code == 2
    assert "--yes" in shown.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_cleans_up_and_exits_130(folder, until: Until, number):
    """Ctrl-C and SIGTERM cancel the operation, wait for its clean-up and exit with 130."""
    with started(folder) as process:
        until((folder / "began").exists, "the second stage")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (folder / "cleaned").exists()
    assert err.splitlines()[-1] == "azray: count was cancelled: interrupted"


def test_second_interrupt_does_not_cut_the_clean_up(folder, until: Until):
    """A second Ctrl-C while it cleans up waits on; nothing is left half done."""
    (folder / "may-clean").unlink()
    with started(folder) as process:
        until((folder / "began").exists, "the second stage")
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted: cleaning up")
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "one more interrupt leaves it")
        assert process.poll() is None
        (folder / "may-clean").touch()
        assert process.wait(60) == 130
    assert (folder / "cleaned").exists()


def test_third_interrupt_leaves(folder, until: Until):
    """The third Ctrl-C does not wait for a clean-up that does not end, and says what to look at."""
    (folder / "may-clean").unlink()
    with started(folder) as process:
        until((folder / "began").exists, "the second stage")
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted: cleaning up")
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "one more interrupt leaves it")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read().endswith("Next: azray list\n")


def test_closed_pipe_cancels_and_is_no_traceback(folder, until: Until):
    """When nobody reads the events any more, the operation is cancelled and cleaned up, without a word."""
    with started(folder, "--events", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        until((folder / "began").exists, "the second stage")
        (folder / "go").touch()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""


@contextlib.contextmanager
def started(folder: Path, *words: str, stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """`azray count` in a process that goes on, and is gone at the end."""
    command = [sys.executable, PROGRAM, "count", str(folder), *words]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(stream: Any, words: str) -> None:
    """Reads lines until one holds `words`."""
    for line in stream:
        if words in line:
            return
    raise AssertionError(f"the stream ended without {words!r}")


def on_terminal(words: list[str], keys: bytes = b"") -> tuple[int, str]:
    """Runs `azray` with the verb `count` on a terminal of its own, types `keys`; its exit code and words."""
    ours, its = pty.openpty()
    # CI has no terminal, so the environment does not say which kind this one is.
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TTY_COMPATIBLE")}
    environment["TERM"] = "xterm-256color"
    with subprocess.Popen(
        [sys.executable, PROGRAM, *words], stdin=its, stdout=its, stderr=its, env=environment
    ) as process:
        os.close(its)
        os.write(ours, keys)
        written = b""
        while part := _read(ours):
            written += part
    os.close(ours)
    return process.returncode, written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's end of file for a terminal whose other side is closed
        return b""


def test_terminal_draws_stages_in_place(folder):
    """On a terminal the stages are redrawn with their times, and the value follows."""
    (folder / "go").touch()
    code, written = on_terminal(["count", str(folder)])
    assert code == 0
    assert "second" in written
    assert "\x1b[" in written
    assert "counted 2" in written


@pytest.mark.parametrize(("keys", "said"), [(b"n\n", "no"), (b"y\n", "counted 2")])
def test_terminal_asks(folder, keys, said):
    """On a terminal a person is asked."""
    (folder / "go").touch()
    code, written = on_terminal(["count", str(folder), "--ask"], keys)
    assert code == 0
    assert "Really? [y/N]" in written
    assert written.rstrip().endswith(said)


def test_down_that_is_declined_does_nothing(fresh_home):
    """A no to `azray down` ends with 1, not with an interrupt's 130, says that nothing was done, and nothing was."""
    registry.save(Handle("a", "local", "id", {"name": "a"}, 0.0, details={"state_dir": str(fresh_home / "a")}))
    code, written = on_terminal(["down", "a"], b"n\n")
    assert code == 1
    assert "azray: nothing was done; cluster a is as it was: the answer was no" in written
    assert registry.names() == ["a"]


def test_colours_are_for_terminals(azray_count, folder):
    """Control sequences in what a verb writes or says reach a terminal, and neither a pipe nor a file."""
    (folder / "go").touch()
    shown = azray_count("count", str(folder), "--colours")
    assert shown.out == "red line link\ncounted 2\n"
    assert "red line link\n" in shown.err
    _, written = on_terminal(["count", str(folder), "--colours"])
    assert "\x1b[1;31mred\x1b[0m" in written


@pytest.mark.parametrize("words", [["--help"], ["spec", "schema", "--json"], ["completion", "bash"]])
def test_full_disk_is_one_line(words):
    """Output that cannot be written ends with 1 and one line, whoever wrote it."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "azray_lab", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    said = "azray: the output cannot be written: No space left on device. Next: write it to another place\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_blocked_plan_fails_and_is_shown(azray):
    """A plan that `up` could not carry out ends with 1, with the plan on stdout; one that it could ends with 0."""
    blocked = azray("plan", "--workers", "999")
    assert blocked.code == 1
    assert blocked.out.splitlines()[1].startswith("  blocked: ")
    assert azray("plan", "--workers", "999", "--json").document["blockers"]
    assert azray("plan", "--set", "head.cpus=1", "--set", "head.object_store_memory=80MiB").code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(azray, shell):
    """`azray completion` prints the script of a shell, which asks azray."""
    shown = azray("completion", shell)
    assert shown.code == 0
    assert "_AZRAY_COMPLETE" in shown.out


def test_shell_completion_knows_verbs_and_flags(azray):
    """The protocol of the completion scripts offers verbs and flags."""
    verbs = azray(_AZRAY_COMPLETE="bash_complete", COMP_WORDS="azray st", COMP_CWORD="1")
    flags = azray(_AZRAY_COMPLETE="bash_complete", COMP_WORDS="azray up --wo", COMP_CWORD="2")
    assert (verbs.code, verbs.out) == (0, "plain,status\n")
    assert flags.out == "plain,--workers\n"


def test_no_wait_tells_what_ended_at_once(azray_count, folder):
    """A command that goes on by itself and ends before its cluster is registered is told by its last line."""
    shown = azray_count("count", str(folder), "--no-wait", "--json")
    assert shown.code == 1
    assert "there is no verb 'count'" in shown.document["error"]["cause"]
    assert oct(Path(shown.document["error"]["facts"]["log"]).stat().st_mode)[-3:] == "600"
