"""Starts a command as a daemon: in a session of its own, orphaned, with its output in a file. Prints its pid.

Run as `python -I -S launch.py LOG DIRECTORY COMMAND...`. A process of its own, because a kernel has threads and must
not fork, and because a node whose parent is the kernel would stay as a zombie in it.
"""

import os
import sys


def main() -> None:
    """Makes the session, forks, and becomes the command."""
    log, directory, *command = sys.argv[1:]
    os.setsid()
    if pid := os.fork():
        print(pid, flush=True)  # noqa: T201 - its answer
        os._exit(0)
    os.umask(0o077)
    os.chdir(directory)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((null, 0), (sink, 1), (sink, 2)):
        os.dup2(source, number)
    os.execvp(command[0], command)  # noqa: S606 - what it is for


if __name__ == "__main__":
    main()
