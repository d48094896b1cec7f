"""Blob containers as folders: Microsoft's blobfuse2, or a read-only copy on a local disk, bound to the path."""
