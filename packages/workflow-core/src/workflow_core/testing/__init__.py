"""For tests: a clock that a test moves, a driver on one thread, and a seeded simulation."""

from workflow_core.testing.clock import FakeClock
from workflow_core.testing.driver import Driver
from workflow_core.testing.run_under_test import RunUnderTest
from workflow_core.testing.seeds import SeedFailedError, Simulated, simulate

__all__ = ["Driver", "FakeClock", "RunUnderTest", "SeedFailedError", "Simulated", "simulate"]
