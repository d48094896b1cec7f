"""`python -m azray_lab` is `azray`."""

from __future__ import annotations

import sys

from azray_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
