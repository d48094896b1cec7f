"""`azray_lab.checkpoints`: the checkpoints at one place of a container, saved behind the training and restored."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.checkpoints import folders, ray_train
from azray_lab.storage.checkpoints.background import Background, persistently, retold
from azray_lab.storage.checkpoints.folders import About, Waiting
from azray_lab.storage.checkpoints.saved import Saved, new_folder, plain
from azray_lab.storage.checkpoints.shelf import Shelf
from azray_lab.storage.contents import Contents, contents
from azray_lab.storage.filesystem import filesystem

if TYPE_CHECKING:
    from typing_extensions import Self

    from azray_lab.storage.credentials import Credentials


class Checkpoints:
    """The checkpoints at one place of a container, the latest `keep` of them.

    As a context manager it waits at the block's end for what is being uploaded. `path` and `filesystem` are Ray's
    `storage_path` and `storage_filesystem`. It can be pickled into training functions (see `azray_lab.filesystem` for
    what travels). One process writes to one place; any number read. Saving uses one thread, and the local disk for two
    checkpoints.
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
        self._endpoint = place.endpoint
        self._scratch = str(scratch) if scratch is not None else None
        self._start()
        self._sweep()

    def _start(self) -> None:
        self._background = Background()
        self._looked = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"_background", "_looked"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def __repr__(self) -> str:
        return f"<checkpoints at {self.uri}, keep={self.keep}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An error of the block's own is not replaced; the end of the program waits then, and tells the other.
        if kind is None:
            self.wait()

    @property
    def uri(self) -> str:
        """The place, as it can be given to `checkpoints` again; never with a signature."""
        container, _, path = self.path.partition("/")
        return str(BlobUri(container, path, self._endpoint))

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
        (StorageError, CredentialError), while this one is uploaded all the same. An upload is tried again for two
        minutes while the service is away; when it fails, the files stay on the local disk, and the error says where.
        The first one looks whether the place can be written, before the block, by one request. `facts` come back with
        `Saved`: plain JSON, and numbers of NumPy and torch; UsageError for others.
        """
        target = new_folder(name)
        plain(name, facts)
        with self._looking(target):
            own = Waiting.make(self._scratch, About(self.uri, self._files.account.endpoint, name))
            try:
                yield own.files
                found = _whole(own.files, name, level=4)
                own.note(folders.READY, plain(name, facts))
            except BaseException:
                own.remove()
                raise
        self._send(own, target, found)

    def save(self, folder: str | Path, name: str, **facts: Any) -> None:
        """Saves a copy of an existing local folder, as `saving` does.

        One that a failed upload has left is not copied, but uploaded and removed then; its facts are kept.
        """
        own = folders.left(Path(folder))
        if own is None:
            with self.saving(name, **facts) as copied:
                _copy(_whole(Path(folder), name, level=3), copied)
            return
        target, found = new_folder(name), contents(own.files)
        own.note(folders.READY, {**own.about.facts, **plain(name, facts)}, name)
        self._send(own, target, found)

    def wait(self) -> Saved | None:
        """Waits for the upload that is under way, and returns what it saved; raises what went wrong with it."""
        return self._background.wait()

    @contextlib.contextmanager
    def _looking(self, target: str) -> Iterator[None]:
        """The first time in a process, finds out whether checkpoints can be saved here, by beginning one."""
        if self._looked:
            yield
            return
        self._sweep()
        self._shelf.begin(target)
        self._looked = True
        try:
            yield
        except BaseException:
            with contextlib.suppress(AzRayError):  # the block's own error counts; a later save removes it
                self._shelf.drop(target)
            raise

    def _sweep(self) -> None:
        folders.sweep(self._scratch, self.uri, self._files.account.endpoint)

    def _send(self, own: Waiting, target: str, found: Contents) -> None:
        interrupted = f"the upload of the checkpoint {own.about.name!r} was cut off. Next: {own.next_step}"
        self._background.begin(lambda: self._upload(own, target, found), interrupted)

    def _upload(self, own: Waiting, target: str, found: Contents) -> Saved:
        try:
            before, saved = persistently(lambda: self._shelf.add(target, found, own.about.facts))
        except Exception as error:
            own.leave()
            what = f"the checkpoint {own.about.name!r} was not uploaded; its files are in {own.files}"
            raise retold(error, what, own.next_step, folder=str(own.files)) from error
        with contextlib.suppress(OSError):  # a full disk: it is removed at once, and only a kill in between is seen
            own.note(folders.DONE)
        own.remove()
        try:
            persistently(lambda: self._shelf.prune(before, saved, self.keep))
        except Exception as error:
            what = f"the checkpoint {saved.name!r} is saved, but older ones at {self.uri} were not removed"
            raise retold(error, what) from error
        return saved

    # Reading.

    def list(self) -> list[Saved]:
        """The complete ones, the oldest first. One request, and one for each, many at a time."""
        return self._shelf.all()

    def latest(self) -> Saved | None:
        """The latest complete one; None when there is none."""
        return self._shelf.find()

    def restore(self, folder: str | Path, name: str | None = None) -> Saved | None:
        """Brings the latest complete checkpoint (or the one called `name`) to the local `folder`; None without any.

        What this object is uploading is waited for. The folder must not be there yet, and appears when all files are.
        StorageError when they are not those that were saved.
        """
        target = Path(folder)
        if target.exists():
            raise UsageError(f"{target} is there already", next_step=f"rm -r {target}, or give another folder")
        self.wait()
        return self._shelf.fetch(name, target)

    @property
    def _shelf(self) -> Shelf:
        engine, container, path = self._files.place(self.path)
        return Shelf(engine, container, f"{path}/" if path else "")

    # Ray Train.

    def report(self, metrics: Mapping[str, Any], folder: str | Path | None = None) -> None:
        """`ray.train.report` with a checkpoint in the local `folder`, which Ray removes after its upload.

        The engine uploads it in the background: no file of it is seen in the storage before all bytes are there. Ray
        makes it known when the workers' parts are all there, and keeps as many as its `CheckpointConfig` says. The
        run's storage must be this one: `train.RunConfig(**run_options())`. Of files to which several workers give the
        same name, one is kept. Not for Tune, whose own report waits for the upload; a trial saves in the background by
        `child(...).saving`.
        """
        ray_train.report(self._files, metrics, folder)

    def run_options(self) -> dict[str, Any]:
        """`storage_path` and `storage_filesystem` for the RunConfig of Train and of Tune."""
        return {"storage_path": self.path, "storage_filesystem": self.filesystem}


def checkpoints(uri: str | BlobUri = "az://", **options: Any) -> Checkpoints:
    """The checkpoints at `uri`; without a container, that of `AZURE_STORAGE_CONTAINER`. No request.

    `keep` (3) is how many complete ones stay, None: all. `credentials` and `environ` are as for `filesystem`; `scratch`
    is a local folder for what is being written, by default the system's for temporary files. A RuntimeWarning names
    checkpoints that a process of this machine left there without uploading them.
    """
    return Checkpoints(uri, **options)


def _whole(folder: Path, name: str, *, level: int) -> Contents:
    """What is in `folder`; a warning, of the caller `level` calls above, names what cannot be kept."""
    found = contents(folder)
    if found.left_out:
        left_out = f"{', '.join(found.left_out)} of the checkpoint {name!r}"
        warnings.warn(
            f"{left_out} was not saved: no file, or a link that leads to none", RuntimeWarning, stacklevel=level
        )
    return found


def _copy(found: Contents, target: Path) -> None:
    for name in found.folders:
        (target / name).mkdir(parents=True)
    for name, path in found.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target / name)
