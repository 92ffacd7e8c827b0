"""What a case's adapter is made from: names, a folder, a clock."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from workflow_core.ports import AdapterContext
from workflow_core.testing import FakeClock

__all__ = ["SEED", "Env"]

T = TypeVar("T")

_START = datetime(2026, 3, 29, 0, 59, 59, 987_654, tzinfo=UTC)  # microseconds, to see them kept
SEED = 20_260_329


class Env:
    """The surroundings of one case. Adapters made from one env share their data, and nobody else's.

    Attributes:
        namespace: unique to this case, over all machines: 13 lowercase letters and digits. An
            adapter keeps its tables, topics, keys and groups apart by it.
        folder: an empty folder of this case, for adapters that keep files.
        clock: what the adapter is to stamp and compare by. It stands still until a case moves it.
            None where the contract's ``fake_clock`` is off: the adapter goes by its server's clock.
        tick: the unit of time that cases count in: an hour of the fake clock, or two real seconds.
        patience: how long a case waits for what has to happen before it fails.
        seed: of ``random``; one case that fails tells it.
        random: seeded, the same numbers in each run of a case.
    """

    def __init__(
        self,
        *,
        folder: Path,
        fake_clock: bool = True,
        patience: timedelta = timedelta(seconds=30),
        seed: int = SEED,
    ) -> None:
        self.namespace = "t" + uuid.uuid4().hex[:12]
        self.folder = folder
        self.clock = FakeClock(_START) if fake_clock else None
        self.tick = timedelta(hours=1) if fake_clock else timedelta(seconds=2)
        self.patience = patience
        self.seed = seed
        self.random = random.Random(seed)
        self._instances = 0
        self._shared: dict[Hashable, Any] = {}
        self._closing = ExitStack()
        self._lock = threading.Lock()

    def new_instance(self) -> str:
        """A name for one more process among its peers, as `AdapterContext.instance`."""
        with self._lock:
            self._instances += 1
            return f"{self.namespace}-{self._instances}"

    def context(self) -> AdapterContext:
        """What an entry point's factory gets; each is another process. Closed after the case."""
        context = AdapterContext(
            instance=self.new_instance(), namespace=self.namespace, clock=self.clock
        )
        return self._closing.enter_context(context)

    def entered(self, opened: AbstractContextManager[T]) -> T:
        """Enter it, and leave it after the case."""
        return self._closing.enter_context(opened)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """One ``make()`` per key and env: what two handles on the same data have in common."""
        with self._lock:
            if key not in self._shared:
                self._shared[key] = make()
            return cast(T, self._shared[key])

    def elsewhere(self) -> Env:
        """Another env on the same servers: its adapters must not see this one's data."""
        folder = self.folder / "elsewhere"
        folder.mkdir(exist_ok=True)
        other = Env(
            folder=folder, fake_clock=self.clock is not None, patience=self.patience, seed=self.seed
        )
        return self._closing.enter_context(other)

    def advance(self, ticks: float = 1) -> None:
        """Let that many ticks pass; without a fake clock there is nothing for it but to wait."""
        if self.clock is not None:
            self.clock.advance(ticks * self.tick)
        else:
            threading.Event().wait(ticks * self.tick.total_seconds())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._closing.close()
