"""Tests in a real browser; a package, so that its modules share one JupyterLab and one Chromium."""
