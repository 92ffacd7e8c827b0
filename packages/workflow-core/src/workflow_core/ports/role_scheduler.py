"""The port of the role scheduler: who does what."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from threading import Event as Signal
from typing import Self

from workflow_core.ports.adapter import Adapter

__all__ = ["Lease", "RoleScheduler"]

_POLL = 0.05  # seconds between two rounds of the default acquire


class Lease:
    """The right to play a role. The adapter makes it and sets its signals. Any thread.

    Attributes:
        role: the role's name.
        token: grows with each grant of the role, over all processes.
        lost: set before anyone else can hold the role, and by ``release``. Stop at once.
        recalled: another member should have the role: finish the work in hand, then release.
        suspect: the last holder vanished without resigning.
    """

    def __init__(
        self, role: str, token: int, *, release: Callable[[], None], suspect: bool = False
    ) -> None:
        self.role = role
        self.token = token
        self.lost = Signal()
        self.recalled = Signal()
        self.suspect = suspect
        self._release = release
        self._released = False
        self._lock = threading.Lock()

    def release(self) -> None:
        """Give up the role at once, once its work has stopped. Twice is harmless.

        Never raises: a scheduler that cannot be told lets the lease run out.
        """
        with self._lock:
            if self._released:
                return
            self._released = True
        self.lost.set()
        self._release()

    def __repr__(self) -> str:
        state = "lost" if self.lost.is_set() else "recalled" if self.recalled.is_set() else "held"
        return f"<Lease {self.role!r} token {self.token} {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.release()


class RoleScheduler(Adapter, ABC):
    """At most one holder per role over all processes, and soon at least one.

    A crashed holder's roles are free within the adapter's lease time; a released role at once.
    Where several members ask for the same roles they are spread evenly, by recalling.
    """

    @abstractmethod
    def try_acquire(self, role: str) -> Lease | None:
        """The role if it is free now, else None; a process that holds it already is refused too.

        Raises:
            AdapterUnavailableError: no answer; the role was not granted.
            ClosedError: the scheduler was closed.
        """

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        """Wait until at least one of the roles is granted; [] when the time is up.

        All roles that a process wants and does not hold, in one call: it also tells the scheduler
        what this member would like to have, which is what spreading goes by. One thread at a
        time, except ``close``. Default: polls `try_acquire`.

        Raises:
            AdapterUnavailableError: no answer; nothing was granted.
            ClosedError: the scheduler was closed.
        """
        end = time.monotonic() + timeout.total_seconds()
        while True:
            leases = [lease for role in roles if (lease := self.try_acquire(role)) is not None]
            rest = end - time.monotonic()
            if leases or rest <= 0:
                return leases
            time.sleep(min(_POLL, rest))

    def holders(self, roles: Sequence[str]) -> Mapping[str, str]:
        """Who holds which of the roles, by ``AdapterContext.instance``; free ones are left out.

        Default: {}, not known.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return {}
