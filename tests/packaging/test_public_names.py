"""One public door: `azray_lab.__all__` is the list of public names, and each of them is there."""

from __future__ import annotations

import re
from importlib.metadata import version

import azray_lab

# A new public name is a promise; it is made here, in CHANGELOG.md and in the docs.
PUBLIC = {
    "AzRayError",
    "AzureFileSystem",
    "Cluster",
    "ClusterSpec",
    "attach",
    "checkpoints",
    "clusters",
    "credentials",
    "dashboard",
    "filesystem",
    "gpus",
    "load_ipython_extension",
    "mount",
    "mounts",
    "plan",
    "runtime_env",
    "ui",
    "unload_ipython_extension",
    "unmount",
    "up",
}


def test_the_public_names_are_these() -> None:
    """`__all__` holds exactly the names that we promise, once each."""
    assert set(azray_lab.__all__) == PUBLIC
    assert len(azray_lab.__all__) == len(set(azray_lab.__all__))


def test_each_public_name_is_there() -> None:
    """Every name of `__all__` resolves, and `dir` offers it to completion."""
    for name in azray_lab.__all__:
        assert getattr(azray_lab, name) is not None
        assert name in dir(azray_lab)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy loading of names leaves `hasattr` true to itself."""
    assert not hasattr(azray_lab, "no_such_name")


def test_one_version_number() -> None:
    """`__version__` is the version of the installed package."""
    assert azray_lab.__version__ == version("azray-lab")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", azray_lab.__version__)
