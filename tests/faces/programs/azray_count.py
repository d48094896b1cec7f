"""`azray` with one more verb, `count`."""

from __future__ import annotations

import importlib
import sys

from azray_lab.cli import main

importlib.import_module("count_verb")
sys.exit(main())
