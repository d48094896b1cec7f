"""What the tests of the spec share: an empty working directory, and the example of the design in it."""

from __future__ import annotations

from pathlib import Path

import pytest

DESIGN = """\
name: team-a
target: dsvm                    # local | dsvm | aks: changing this one word moves the same notebook
head: {vm_size: Standard_D8s_v5}
workers:
  - {name: cpu, vm_size: Standard_D16s_v5, count: 2}
  - {name: gpu, gpu: "A100:8", min: 0, max: 3, spot: true}     # the size comes from the catalog
mounts:
  - {uri: "az://datasets/imagenet", path: /mnt/imagenet, profile: dataset}
lease: {idle: 30m, max: 8h}
azure: {region: [uksouth, swedencentral], resource_group: team-a-rg}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def design(folder: Path) -> Path:
    """The example of the design as `azray.yaml` in the working directory."""
    file = folder / "azray.yaml"
    file.write_text(DESIGN)
    return file
