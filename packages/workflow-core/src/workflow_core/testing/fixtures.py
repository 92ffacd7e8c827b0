"""Fixtures for pytest: ``pytest_plugins = ["workflow_core.testing.fixtures"]`` in a conftest.

Needs pytest, which the wheel does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workflow_core.testing.driver import Driver

__all__ = ["driver"]


@pytest.fixture
def driver() -> Iterator[Driver]:
    """An engine in memory on a clock that stands still; closed after the test."""
    with Driver() as made:
        yield made
