"""Public pytest fixtures: real servers for tests that talk to Blob storage.

In a `conftest.py`: `pytest_plugins = ["azray_lab.testing"]`; then a test asks for the fixture `azurite`. The same
server without pytest: `azray_lab.testing.azurite.run_azurite`. Importing this package loads no pytest and no SDK.
"""

from __future__ import annotations

from typing import Any

# The name under which pytest finds the fixture in this module; tests ask for it as `azurite`.
_FIXTURES = ("azurite_fixture",)


def __getattr__(name: str) -> Any:
    if name in _FIXTURES:
        from azray_lab.testing import fixtures  # imports pytest, which a demo does not need

        return getattr(fixtures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # pytest looks for fixtures among the names that dir() gives.
    return sorted({*globals(), *_FIXTURES})
