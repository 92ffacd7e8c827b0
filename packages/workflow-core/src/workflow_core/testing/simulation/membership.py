"""Who is a member of the simulated cluster: processes come, are told to stop, and die."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta

from workflow_core.engine import EngineSettings
from workflow_core.errors import AdapterUnavailableError
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Event, names
from workflow_core.ports import Capability, ConnectorSource
from workflow_core.testing.clock import FakeClock
from workflow_core.testing.simulation.faults import Chances, Crash, Faults
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.member import Member, SkewedClock
from workflow_core.testing.simulation.pools import Pools

__all__ = ["Membership"]

_SETTINGS = EngineSettings(
    shards=4,
    reconcile_every=timedelta(seconds=30),
    reconcile_age=timedelta(seconds=10),
    auto_resume_after=timedelta(seconds=1),
    auto_resumes=2,
)
_MEMBERS = 3  # for each pool, at most at a time


class Membership:
    """Base of `Simulation`, which has all that is named here."""

    dice: random.Random
    _chances: Chances
    _clock: FakeClock
    _gone: list[Member]
    _members: list[Member]
    _pools: Pools
    _records: MemoryDatabase
    _stopping: Member | None
    _stream: MemoryDatabase
    _timers: MemoryDatabase
    _without: frozenset[Capability]

    def _do(self, member: Member, what: str, act: Callable[[], object]) -> bool:
        raise NotImplementedError

    def _post(self, event: Event, is_lost: bool) -> None:
        raise NotImplementedError

    def _suffer(self, misfortune: str) -> None:
        raise NotImplementedError

    def _tell(self, what: str) -> None:
        raise NotImplementedError

    def _change_members(self) -> None:
        pools = self._pools.names
        if len(self._members) < _MEMBERS * len(pools) and self.dice.random() < 0.5:
            self._join(self.dice.choice(pools) if len(pools) > 1 else names.MAIN_POOL)
            return
        member = self.dice.choice(self._members)
        self._tell(f"{member.name} is told to stop")
        self._stopping = member
        self._do(member, "stopping", member.stop)
        if member.is_alive:
            raise InvariantError(f"{member.name} did not stop")
        self._part_with(member)

    def _man_all_pools(self) -> None:
        for pool in self._pools.names:
            if not any(member.pool == pool for member in self._members):
                self._join(pool)

    def _join(self, pool: str) -> None:
        name = f"member-{len(self._members) + len(self._gone) + 1}"
        faults = Faults(self.dice, self._chances, tell=self._suffer, post=self._post)
        try:
            member = Member(
                name,
                records=self._records,
                stream=self._stream,
                timers=self._timers,
                pools=self._pools,
                pool=pool,
                settings=_SETTINGS,
                faults=faults,
                without=self._without,
                clock=SkewedClock(self._clock, timedelta(hours=self.dice.uniform(-1, 1))),
                true_clock=self._clock,
                dice=random.Random(self.dice.getrandbits(64)),
                connectors=self._sources(name, faults),
            )
        except (AdapterUnavailableError, Crash):
            self._tell(f"{name} fails to start")
            return
        self._members.append(member)
        self._tell(f"{name} joins" + (f" pool {pool}" if len(self._pools.names) > 1 else ""))

    def _sources(self, name: str, faults: Faults) -> Mapping[str, ConnectorSource]:
        """What the connectors of a new member are bound to."""
        return {}

    def _bury(self, member: Member) -> None:
        member.die()
        self._part_with(member)

    def _part_with(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._gone.append(member)
        self._man_all_pools()
