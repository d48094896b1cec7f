"""Checkpoints in Blob storage: written to the local disk, uploaded by the engine while training goes on.

    checkpoints = azray_lab.checkpoints("az://models/run-1", keep=3)
    with checkpoints.saving("epoch-7", loss=0.1) as folder:     # at the end of the block training goes on
        torch.save(model.state_dict(), folder / "model.pt")
    saved = checkpoints.restore("/tmp/run-1")                   # the latest complete one, on whatever node

A checkpoint's files lie in a folder of their own, `NAME-XXXXXX/`; it is there for readers when `_complete/N-NAME.json`
is, which is written last and says which files of which size and version belong to it. So an upload that is killed
leaves nothing that anybody reads. `_started/NAME-XXXXXX`, which is written first and removed last, tells what is ours:
nothing else beside it is ever removed. One process writes to one place; any number read.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import BlobNotFoundError, StorageError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.filesystem import filesystem
from azray_lab.storage.sending import fetch_folder, send_folder

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Credentials
    from azray_lab.storage.engine import Engine

_COMPLETE = "_complete"
_STARTED = "_started"
_VERSION = 1
# A writer that was killed leaves files that no reader sees; they are removed when nobody can still be at it.
_LEFTOVER = timedelta(hours=1)
_TRIES = 3


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint: `files` by name with size and ETag, `facts` as they were given."""

    name: str
    number: int
    folder: str
    files: Mapping[str, tuple[int, str]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())


class Checkpoints:
    """The checkpoints at one place of a container, the latest `keep` of them.

    `path` and `filesystem` are Ray's `storage_path` and `storage_filesystem`. It can be pickled into training functions
    (see `azray_lab.filesystem` for what travels). Saving uses one thread, and the local disk for two checkpoints.
    """

    def __init__(
        self,
        uri: str | BlobUri,
        *,
        keep: int | None = 3,
        credentials: Credentials | None = None,
        environ: Mapping[str, str] | None = None,
        scratch: str | Path | None = None,
    ) -> None:
        if keep is not None and keep < 1:
            raise UsageError(f"keep={keep} would keep nothing", next_step="keep=1, or keep=None for all")
        self._files = filesystem(uri, credentials=credentials, environ=environ)
        place = BlobUri.parse(uri)
        container = place.container or self._files.account.container
        if not container:
            raise UsageError("checkpoints need a container", next_step="azray_lab.checkpoints('az://models/run-1')")
        self.keep = keep
        self.path = f"{container}/{place.path}".rstrip("/")
        self._scratch = str(scratch) if scratch is not None else None
        self._start()

    def _start(self) -> None:
        self._worker: ThreadPoolExecutor | None = None
        self._pending: Future[Saved] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"_worker", "_pending"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    @property
    def filesystem(self) -> Any:
        """The pyarrow file system of the account, for `storage_filesystem`."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return PyFileSystem(FSSpecHandler(self._files))

    def child(self, name: str) -> Checkpoints:
        """Those of one part, such as a trial of Tune: `checkpoints.child(tune.get_context().get_trial_name())`."""
        twin = Checkpoints.__new__(Checkpoints)
        twin.__setstate__({**self.__getstate__(), "path": f"{self.path}/{name}"})
        return twin

    # Saving.

    @contextlib.contextmanager
    def saving(self, name: str, **facts: Any) -> Iterator[Path]:
        """A local folder to write a checkpoint into; its upload begins at the end of the block, in the background.

        An error inside the block drops it. The upload before is waited for; what went wrong with it is raised here
        (StorageError, CredentialError), while this one is uploaded all the same. `facts` (plain JSON) come back with
        `Saved`.
        """
        _check(name)
        folder = Path(tempfile.mkdtemp(prefix="azray-checkpoint-", dir=self._scratch))
        try:
            yield folder
            if self._worker is None:
                # Not a daemon: when the program ends it is waited for.
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="azray-checkpoint")
            upload = self._worker.submit(self._upload, folder, name, facts)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        before, self._pending = self._pending, upload
        if before is not None:
            before.result()

    def save(self, folder: str | Path, name: str, **facts: Any) -> None:
        """Saves a copy of an existing local folder, as `saving` does."""
        with self.saving(name, **facts) as own:
            shutil.copytree(folder, own, dirs_exist_ok=True)

    def wait(self) -> Saved | None:
        """Waits for the upload that is under way, and returns what it saved; raises what went wrong with it."""
        pending, self._pending = self._pending, None
        return pending.result() if pending is not None else None

    def _upload(self, folder: Path, name: str, facts: Mapping[str, Any]) -> Saved:
        try:
            return self._commit(folder, name, facts)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, folder: Path, name: str, facts: Mapping[str, Any]) -> Saved:
        engine, container, base = self._place()
        before = self.list()
        target = f"{name}-{secrets.token_hex(3)}"
        engine.put(container, f"{base}{_STARTED}/{target}", b"")
        files = send_folder(engine, container, f"{base}{target}/", folder)
        saved = Saved(name, max((one.number for one in before), default=0) + 1, target, files, dict(facts))
        text = {"version": _VERSION, "name": name, "folder": target, "files": files, "facts": saved.facts}
        engine.put(container, f"{base}{_COMPLETE}/{saved.number:08d}-{name}.json", json.dumps(text).encode())
        self._prune(before, saved)
        return saved

    def _prune(self, before: list[Saved], saved: Saved) -> None:
        """Removes what is no longer kept: first what makes it visible, then its files; and old leftovers."""
        engine, container, base = self._place()
        kept = [one for one in before if one.name != saved.name]
        kept = kept if self.keep is None else kept[max(len(kept) - self.keep + 1, 0) :]
        for one in before:
            if one not in kept:
                engine.delete(container, f"{base}{_COMPLETE}/{one.number:08d}-{one.name}.json")
        known = {saved.folder, *(one.folder for one in kept)}
        dropped = {one.folder for one in before} - known
        started = {one.name.rpartition("/")[2]: one.modified for one in engine.list(container, f"{base}{_STARTED}/")}
        for folder in sorted((dropped | set(started)) - known):
            blobs = list(engine.list(container, f"{base}{folder}/"))
            if folder in dropped or _abandoned([started.get(folder), *(one.modified for one in blobs)]):
                engine.delete_many((container, one.stored) for one in blobs)
                engine.delete(container, f"{base}{_STARTED}/{folder}")

    # Reading.

    def list(self) -> list[Saved]:
        """The complete ones, the oldest first. One request, and one for each."""
        engine, container, base = self._place()
        names = [entry.name for entry in engine.list(container, f"{base}{_COMPLETE}/")]
        found = []
        for name in names:
            # Another process may have removed it in between; its successor is there then.
            with contextlib.suppress(BlobNotFoundError):
                found.append(_read(name, engine.get_bytes(container, name)))
        return found

    def latest(self) -> Saved | None:
        """The latest complete one; None when there is none."""
        engine, container, base = self._place()
        for name in reversed([entry.name for entry in engine.list(container, f"{base}{_COMPLETE}/")]):
            with contextlib.suppress(BlobNotFoundError):
                return _read(name, engine.get_bytes(container, name))
        return None

    def restore(self, folder: str | Path, name: str | None = None) -> Saved | None:
        """Brings the latest complete checkpoint (or the one called `name`) to the local `folder`; None without any.

        The folder must not be there yet, and appears when all files are. StorageError when they are not those that
        were saved.
        """
        target = Path(folder)
        if target.exists():
            raise UsageError(f"{target} is there already", next_step=f"rm -r {target}, or give another folder")
        for attempt in range(_TRIES):
            saved = self._find(name)
            if saved is None:
                return None
            engine, container, base = self._place()
            try:
                fetch_folder(engine, container, f"{base}{saved.folder}/", saved.files, target)
            except BlobNotFoundError:
                # The writer has saved newer ones meanwhile, and removed this one.
                if attempt + 1 == _TRIES or name is not None:
                    raise
            else:
                return saved
        return None

    def _find(self, name: str | None) -> Saved | None:
        if name is None:
            return self.latest()
        return next((one for one in reversed(self.list()) if one.name == name), None)

    def _place(self) -> tuple[Engine, str, str]:
        engine, container, path = self._files.place(self.path)
        return engine, container, f"{path}/" if path else ""

    # Ray Train.

    def report(self, metrics: Mapping[str, Any], folder: str | Path | None = None) -> None:
        """`ray.train.report` with a checkpoint in the local `folder`, which Ray removes after its upload.

        The engine uploads it in the background: no file of it is seen in the storage before all bytes are there. Ray
        makes it known when the workers' parts are all there, and keeps as many as its `CheckpointConfig` says. The
        run's storage must be this one: `train.RunConfig(**run_options())`. Not for Tune, whose own report waits for
        the upload; a trial saves in the background by `child(...).saving`.
        """
        from ray import train

        if folder is None:
            train.report(dict(metrics))
            return
        train.report(
            dict(metrics),
            checkpoint=train.Checkpoint.from_directory(str(folder)),
            checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self._upload_for_train,
        )

    def _upload_for_train(self, checkpoint: Any, name: str) -> Any:
        from ray import train

        run = train.get_context().get_storage()
        target = f"{run.experiment_fs_path}/{name}"
        engine, container, prefix = self._files.place(target)
        send_folder(engine, container, f"{prefix}/", Path(checkpoint.path), together=True)
        return train.Checkpoint(path=target, filesystem=run.storage_filesystem)

    def run_options(self) -> dict[str, Any]:
        """`storage_path` and `storage_filesystem` for the RunConfig of Train and of Tune."""
        return {"storage_path": self.path, "storage_filesystem": self.filesystem}


def checkpoints(uri: str | BlobUri = "az://", **options: Any) -> Checkpoints:
    """The checkpoints at `uri`; without a container, that of `AZURE_STORAGE_CONTAINER`. No request.

    `keep` (3) is how many complete ones stay, None: all. `credentials` and `environ` are as for `filesystem`; `scratch`
    is a local folder for what is being written, by default the system's for temporary files.
    """
    return Checkpoints(uri, **options)


def _abandoned(times: Iterable[datetime | None]) -> bool:
    latest = max((one for one in times if one), default=None)
    return latest is None or datetime.now(timezone.utc) - latest >= _LEFTOVER


def _check(name: str) -> None:
    if not name or "/" in name or name.startswith((".", "_")):
        raise UsageError(f"{name!r} is no name for a checkpoint", next_step="a name such as epoch-7, without /")


def _read(blob: str, content: bytes) -> Saved:
    try:
        text = json.loads(content)
        if text["version"] != _VERSION:
            raise ValueError("another version")  # noqa: TRY301 - as what cannot be read
        number = int(blob.rpartition("/")[2].partition("-")[0])
        files = {name: (int(size), str(etag)) for name, (size, etag) in text["files"].items()}
        return Saved(text["name"], number, text["folder"], files, text["facts"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{blob} does not describe a checkpoint",
            cause=f"{type(error).__name__}: {error}",
            next_step=f"azray blob rm az://.../{blob}",
        ) from error
