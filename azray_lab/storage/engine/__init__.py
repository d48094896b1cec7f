"""The engine: bulk reads and writes of blobs, listings, copies; see `engine.Engine`. Imports nothing heavy."""

from azray_lab.storage.engine.engine import BLOCK, RANGE, Engine
from azray_lab.storage.engine.model import Block, Entry
from azray_lab.storage.engine.shared import engine_for
from azray_lab.storage.engine.upload import Upload

__all__ = ["BLOCK", "RANGE", "Block", "Engine", "Entry", "Upload", "engine_for"]
