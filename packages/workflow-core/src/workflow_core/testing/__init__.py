"""For tests: a clock that a test moves, and a driver that runs an engine on one thread."""

from workflow_core.testing.clock import FakeClock
from workflow_core.testing.driver import Driver

__all__ = ["Driver", "FakeClock"]
