"""A simulation: engines, adapters and time on one thread, where whatever can go wrong does.

One seed decides everything: the order in which processes are polled, which port calls fail and
how, which process dies at which call, which events are lost or doubled, how time passes, and what
users do meanwhile. After every poll the invariants are checked, so that a failure shows at the
very step that caused it, and the same seed tells the same story again.
"""

from workflow_core.testing.simulation.deliveries import DeliverySimulation
from workflow_core.testing.simulation.faults import Chances, Crash
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.simulation import Simulation

__all__ = ["Chances", "Crash", "DeliverySimulation", "InvariantError", "Simulation"]
