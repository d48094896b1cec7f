"""One mount through blobfuse2: starting its daemon, waiting until the folder answers, ending it, proving both."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from azray_lab.errors import AzRayError, DeadlineError, MountError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse import causes, config, mountinfo, probe, profiles, program
from azray_lab.storage.blobfuse.access import access, reopened
from azray_lab.storage.credentials import Account

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.capacity import Capacity
    from azray_lab.storage.blobfuse.records import Folder, Record

_PROBE_SECONDS = 5.0
_GONE_SECONDS = 60.0
# How the kernel says that somebody uses it, and for how long that may be a glance, in seconds.
_BUSY = ("busy", "in use")
_BUSY_SECONDS = 2.0


def settings_of(record: Record, capacity: Capacity) -> list[profiles.Setting]:
    """Every setting of the mount with its reason, the user's own included."""
    wish = _wish(record)
    config.check_layers(record.overrides, profiles.components(wish))
    return config.overridden(profiles.settings(wish, capacity, record.cache), record.overrides)


def explained(record: Record, capacity: Capacity) -> list[profiles.Setting]:
    """The same for people: before them, which layers there are."""
    return [profiles.layers(_wish(record)), *settings_of(record, capacity)]


def _wish(record: Record) -> profiles.Wish:
    return profiles.Wish(record.profile, record.small, record.access, record.read_only, record.allow_other)


class Daemon:
    """The daemon of one mount. `table` is the kernel's list of mounts, `uri` its place with what the record never has.

    That is a signature, which is in the process's environment alone.
    """

    def __init__(
        self,
        record: Record,
        folder: Folder,
        environ: Mapping[str, str],
        table: Path = mountinfo.TABLE,
        uri: BlobUri | None = None,
    ) -> None:
        self._uri = uri
        self.record = record
        self._folder = folder
        self._environ = environ
        self._table = table

    def start(self, capacity: Capacity, operation: Operation[Any], seconds: float) -> Record:
        """Mounts; returns the record when the folder answers. Whatever goes wrong, nothing of it stays."""
        executable = program.find(self._environ)
        program.version(executable, self._environ)
        account = Account.of(self._uri or BlobUri.parse(self.record.uri), self._environ)
        opened = access(account, self._environ)
        environment = opened.environment(self._environ) | profiles.environment() | {program.MARK: self.record.path}
        self._write(capacity, opened.settings)
        try:
            self._run(executable, environment, operation, seconds)
            pid = self._folder.pid(self.record.path)
            return self.record.but(mode=opened.mode, pid=pid, started=program.started(pid, self.record.path))
        except BaseException:
            with operation.shielded():
                self.wipe()
            raise

    def opened(self) -> tuple[BlobUri | None, Mapping[str, str]]:
        """The mount's place and the variables by which the living process has it open; this process may have others.

        What cannot be read, as another user's, is as this process has it.
        """
        import yaml

        try:
            variables = psutil.Process(self.record.pid).environ()
            service = yaml.safe_load(self._folder.config.read_text(encoding="utf-8"))["azstorage"]
            environ = reopened(service, variables)
        except (psutil.Error, OSError, KeyError, yaml.YAMLError):
            return self._uri, self._environ
        signature = variables.get("AZURE_STORAGE_SAS_TOKEN", "")
        return BlobUri.parse(f"{self.record.uri}?{signature}") if self.record.signed else self._uri, environ

    def _write(self, capacity: Capacity, service: Mapping[str, profiles.Value]) -> None:
        uri = BlobUri.parse(self.record.uri)
        place = {**service, "container": uri.container}
        if uri.path.strip("/"):
            place["subdirectory"] = uri.path.strip("/")
        content = config.document(
            settings_of(self.record, capacity), profiles.components(_wish(self.record)), place,
            str(self._folder.log), str(self._folder.root),
        )  # fmt: skip
        self._folder.config.touch(mode=0o600)
        self._folder.config.write_text(config.render(content), encoding="utf-8")
        if profiles.on_disk(_wish(self.record)):
            Path(self.record.cache).mkdir(mode=0o700, parents=True, exist_ok=True)

    def _run(self, executable: str, environment: Mapping[str, str], operation: Operation[Any], seconds: float) -> None:
        command = [executable, "mount", self.record.path, f"--config-file={self._folder.config}"]
        with self._folder.output.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--disable-version-check"],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            operation.wait_for(
                lambda: self._mounted(process),
                reason=f"blobfuse2 is opening {self.record.uri}",
                seconds=seconds,
                next_step="azray mount again, with --timeout 120 when the line is slow",
            )
        except DeadlineError as error:
            raise self._failure(None, f"it did not answer within {seconds:.0f} s") from error
        finally:
            _finish(process)

    def _mounted(self, process: subprocess.Popen[bytes]) -> bool:
        code = process.poll()
        if code:
            raise self._failure(code)
        # Code 0 is no proof: it also comes when the daemon took more than five seconds.
        there = mountinfo.at(self.record.path, self._table)
        if there is not None and there.blobfuse:
            return probe.answers(self.record.path, _PROBE_SECONDS).ok
        if code == 0 and not program.serving(self.record.path):
            raise self._failure(code)
        return False

    def _failure(self, code: int | None, otherwise: str = "") -> AzRayError:
        said = causes.tail(self._folder.output)
        if not causes.plain(said):
            said = (causes.log_errors(self._folder.log) or [otherwise])[-1]
        return causes.failure(self.record.uri, self.record.path, said, code)

    def stop(self, operation: Operation[Any], *, lazy: bool = False) -> None:
        """Unmounts and waits until the daemon has ended, which is when all is written.

        MountError when something is open; with `lazy` the folder goes at once, and the daemon when that is closed.
        """
        executable = program.find(self._environ)
        command = [executable, "unmount", self.record.path, *(["-z"] if lazy else [])]
        tries: list[MountError | None] = []

        def over() -> bool:
            tries.append(self._unmounted(command))
            return tries[-1] is None or not any(word in tries[-1].cause for word in _BUSY)

        # Whoever asks how much space is free has it in use for a moment, as `azray mounts` does.
        with contextlib.suppress(DeadlineError):
            operation.wait_for(
                over, reason=f"somebody looks at {self.record.path}", seconds=_BUSY_SECONDS, interval=0.1
            )
        if tries[-1] is not None:
            raise tries[-1]
        if not lazy:
            self.wait(operation)

    def _unmounted(self, command: list[str]) -> MountError | None:
        done = program.run(command, self._environ, _GONE_SECONDS)
        if mountinfo.at(self.record.path, self._table) is None:
            return None
        said = causes.plain(done.said) or f"it ended with code {done.code}"
        return MountError(
            f"{self.record.path} cannot be unmounted", cause=said,
            next_step=f"azray unmount {self.record.path} --lazy", path=self.record.path,
        )  # fmt: skip

    def wait(self, operation: Operation[Any], seconds: float = _GONE_SECONDS) -> None:
        """Waits until the daemon has ended, which is when all is written; DeadlineError after `seconds`."""
        operation.wait_for(
            lambda: not program.serving(self.record.path),
            reason=f"blobfuse2 is writing what it holds of {self.record.path}",
            seconds=seconds,
            next_step="close what is open, and wait until azray mounts no longer lists it",
        )

    def wipe(self) -> None:
        """Ends the daemon at once and takes the mount out of the tree; for what is dead, silent or failed."""
        program.kill(self.record.path)
        if mountinfo.at(self.record.path, self._table) is not None:
            program.detach(self.record.path, self._environ)
        program.ended(self.record.path)


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Sees to it that the command has ended; the daemon is a process of its own."""
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait(5)
