"""The local target keeps the contract of targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from azray_lab.targets.local.target import LocalTarget
from azray_lab.testing.target_contract import TargetContract

if TYPE_CHECKING:
    from azray_lab.targets.base import Target


class TestLocalTarget(TargetContract):
    """The contract against real Ray processes of this machine."""

    @pytest.fixture(scope="class")
    @classmethod
    def target(cls) -> Iterator[Target]:
        """The local target in the test's own home."""
        return LocalTarget()  # type: ignore[return-value]  # no clean-up of its own
