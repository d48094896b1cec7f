"""The terminal's face: `azray`."""

from __future__ import annotations

from azray_lab.cli.app import main

__all__ = ["main"]
