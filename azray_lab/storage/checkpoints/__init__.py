"""Checkpoints in Blob storage: written to the local disk, uploaded by the engine while training goes on.

    with azray_lab.checkpoints("az://models/run-1", keep=3) as checkpoints:
        with checkpoints.saving("epoch-7", loss=0.1) as folder:     # at the end of this block training goes on
            torch.save(model.state_dict(), folder / "model.pt")
    # at the end of that one all is in Blob, or it raises
    saved = azray_lab.checkpoints("az://models/run-1").restore("/tmp/run-1")    # the latest complete one, on any node

`place` is what people use, `saved` the form of what lies in Blob, `shelf` what is done there, `folders` what lies on
the local disk meanwhile, `background` the thread between them, `ray_train` the storage of Ray Train.
"""

from azray_lab.storage.checkpoints.place import Checkpoints, checkpoints
from azray_lab.storage.checkpoints.saved import Saved

__all__ = ["Checkpoints", "Saved", "checkpoints"]
