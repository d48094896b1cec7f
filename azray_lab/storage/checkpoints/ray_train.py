"""The storage of Ray Train: checkpoints that are reported with `Checkpoints.report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.storage.checkpoints.background import persistently
from azray_lab.storage.sending import send_folder

if TYPE_CHECKING:
    from azray_lab.storage.filesystem import BlobFileSystem


class Upload:
    """What Ray Train calls in the background with a local checkpoint and the name that it gets in the run's storage."""

    def __init__(self, files: BlobFileSystem) -> None:
        self._files = files

    def __call__(self, checkpoint: Any, name: str) -> Any:
        """Uploads it; no file is seen before all bytes are there."""
        from ray import train

        run = train.get_context().get_storage()
        target = f"{run.experiment_fs_path}/{name}"
        engine, container, prefix = self._files.place(target)
        folder = Path(checkpoint.path)
        persistently(lambda: send_folder(engine, container, f"{prefix}/", folder, together=True))
        return train.Checkpoint(path=target, filesystem=run.storage_filesystem)


def report(files: BlobFileSystem, metrics: Mapping[str, Any], folder: str | Path | None) -> None:
    """`ray.train.report` with what the local `folder` holds, if there is one, uploaded in the background."""
    from ray import train

    if folder is None:
        train.report(dict(metrics))
        return
    train.report(
        dict(metrics),
        checkpoint=train.Checkpoint.from_directory(str(folder)),
        checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
        checkpoint_upload_fn=Upload(files),
    )
