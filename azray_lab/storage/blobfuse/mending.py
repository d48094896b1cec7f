"""Brings one mount back: `python -m azray_lab.storage.blobfuse.mending PATH`, for a watchdog that must not wait.

A process of its own, because it loads Azure's SDK and may have to wait for a server. Prints one line.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from azray_lab.errors import AzRayError
from azray_lab.operation import Operation
from azray_lab.storage.blobfuse.mounts import Mounts

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.records import Record


def main() -> int:
    """Mends the mount that the first argument names; the exit code says whether it could."""
    path = sys.argv[1]
    operation: Operation[Record] = Operation(f"mend {path}")
    try:
        record = operation.run(lambda work: Mounts().mend(path, work))
    except AzRayError as error:
        sys.stdout.write(f"mount {path}: {error}\n")
        return 1
    sys.stdout.write(f"mount {path}: {record.uri} is there again\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
