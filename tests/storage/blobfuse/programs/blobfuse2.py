"""Behaves like blobfuse2 2.5 as far as its caller sees: verbs, exit codes, words, a daemon with a pid file.

The kernel's table is the file STUB_TABLE, since no test may need the right to mount. STUB says what goes wrong.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TABLE = Path(os.environ.get("STUB_TABLE", "/dev/null"))
FAULT = os.environ.get("STUB", "")
SAID = {
    "wrong-key": "failed to initialize new pipeline [failed to authenticate azstorage credentials with error "
    "[BlockBlob::TestPipeline : [AuthorizationFailure]]]",
    "no-container": "failed to initialize new pipeline [failed to authenticate azstorage credentials with error "
    "[BlockBlob::TestPipeline : [ContainerNotFound]]]",
    "not-permitted": "fusermount3: mount failed: Operation not permitted",
    "no-device": "fuse: device not found, try 'modprobe fuse' first",
    "no-fuse3": 'exec: "fusermount3": executable file not found in $PATH',
    "no-host": 'failed to initialize new pipeline [Get "https://acc.blob.core.windows.net/data": dial tcp: lookup '
    "acc.blob.core.windows.net: no such host]",
    "not-empty": "mount directory is not empty",
    "allow-other": "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
}


def table(change) -> None:
    """Changes the table's lines in one step: who reads it sees all lines before, or all after, as of the kernel's."""
    with TABLE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = TABLE.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in change(TABLE.read_text().splitlines())))
        fresh.replace(TABLE)


def listed(path: str) -> bool:
    """Whether something is mounted there."""
    return any(line.split(" ")[4] == path for line in TABLE.read_text().splitlines())


def fail(words: str, code: int = 1) -> None:
    """Ends as blobfuse2 does."""
    sys.stderr.write(f"Error: {words}\n\n")
    sys.exit(code)


def mount(path: str, arguments: list[str]) -> None:
    """Starts the daemon and lists the mount; or fails as it was told."""
    import yaml

    config = next(a.partition("=")[2] for a in arguments if a.startswith("--config-file="))
    content = yaml.safe_load(Path(config).read_text())
    work = Path(content["default-working-dir"])
    seen = {"argv": sys.argv, "config": content, "environ": dict(os.environ)}
    Path(os.environ["STUB_SEEN"]).write_text(json.dumps(seen))
    if FAULT in SAID:
        fail(SAID[FAULT])
    if FAULT == "no-library":
        sys.exit(127)
    if FAULT == "hangs":
        time.sleep(600)
    if listed(path):
        fail("directory is already mounted")
    if FAULT == "log-only":
        log = Path(content["logging"]["file-path"])
        log.write_text("date : blobfuse2[1] : [x] LOG_ERR [a.go (1)]: BlockBlob::X : failed to resolve: no such host\n")
        sys.exit(1)
    if FAULT == "code-0-without-mount":
        return
    if FAULT == "no-room-for-the-record":
        (work / "record.json").unlink()
        (work / "record.json").mkdir()
    daemon = subprocess.Popen(
        [sys.executable, __file__, "serve", path, content.get("file_cache", {}).get("path", "")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    (work / f"{path.replace('/', '_')}.pid").write_text(str(daemon.pid))
    access = "ro" if content.get("read-only") else "rw"
    line = f"42 27 0:39 / {path} {access},nosuid - fuse blobfuse2 rw,user_id=0"
    if FAULT != "never-listed":
        table(lambda lines: [*lines, line])


def unmount(path: str, *, lazy: bool) -> None:
    """Takes the mount out of the table."""
    if not listed(path):
        fail(f"fusermount3: entry for {path} not found in /etc/mtab exit status 1")
    if FAULT == "busy" and not lazy:
        fail(f"fusermount3: failed to unmount {path}: Device or resource busy exit status 1")
    if FAULT == "looked-at" and not (TABLE.parent / "looked").exists():
        (TABLE.parent / "looked").touch()
        fail(f"fusermount3: failed to unmount {path}: Device or resource busy exit status 1")
    table(lambda lines: [line for line in lines if line.split(" ")[4] != path])


def serve(path: str, cache: str) -> None:
    """Lives as long as the mount is listed; longer when it is told to have something to write. Empties its cache."""
    deadline = time.monotonic() + 120
    written = TABLE.parent / "written"
    while time.monotonic() < deadline and (FAULT == "never-listed" or listed(path)):
        time.sleep(0.02)
    while time.monotonic() < deadline and FAULT == "writes-on" and not written.exists():
        time.sleep(0.02)
    if cache:
        shutil.rmtree(cache, ignore_errors=True)


def say(line: str) -> None:
    """Writes to stdout."""
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Does what the arguments say."""
    verb, *rest = sys.argv[1:]
    say("date : blobfuse2[1] : [] LOG_DEBUG [custom.go (54)]: initializePlugins: No plugins to load.")
    if verb == "--version":
        say({"too-old": "blobfuse2 version 2.1.2", "no-version": "what?"}.get(FAULT, "blobfuse2 version 2.5.6"))
    elif verb == "mount":
        mount(rest[0], rest)
    elif verb == "unmount":
        unmount(rest[0], lazy="-z" in rest)
    elif verb == "serve":
        serve(*rest)
    else:
        fail(f"unknown command {verb}")


if __name__ == "__main__":
    if Path(sys.argv[0]).name == "fusermount3":
        unmount(sys.argv[-1], lazy=True)
    else:
        main()
