"""Blob storage: one grammar of URIs, credentials, clients, an fsspec file system, transfers to and from files."""
