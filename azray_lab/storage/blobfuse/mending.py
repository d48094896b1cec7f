"""Brings one mount back: `python -m azray_lab.storage.blobfuse.mending PATH TABLE`, for a watchdog that must not wait.

A process of its own, because it loads Azure's SDK and may have to wait for a server. TABLE is the kernel's list of
mounts. Prints a line for what it did, and one for what had not been written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.errors import AzRayError
from azray_lab.operation import Operation
from azray_lab.storage.blobfuse.mounts import Mounts

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.records import Record


def main() -> int:
    """Mends the mount that the first argument names; the exit code says whether it could."""
    path, table = sys.argv[1], Path(sys.argv[2])
    operation: Operation[Record] = Operation(f"mend {path}")
    try:
        record = operation.run(lambda work: Mounts(table=table).mend(path, work))
        said, code = f"{record.uri} is there again", 0
    except AzRayError as error:
        said, code = str(error), 1
    notes = [event.message for event in operation.events if event.kind == "note"]
    sys.stdout.write("".join(f"mount {path}: {line}\n" for line in [*notes, said]))
    return code


if __name__ == "__main__":
    sys.exit(main())
