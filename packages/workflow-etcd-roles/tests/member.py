"""A member in a process of its own, for tests that freeze it, cut it off and kill it.

It wants all the roles, plays those that it gets, and hands over what is recalled. What it believes
to hold goes into a log, line by line and unbuffered, so that nothing is lost with the process:

    + 12.5 ROLE TOKEN     granted
    = 12.6                all that was granted is still held
    - ROLE                no longer

The time of a look is taken before the look. So whoever was held up in between says at most that it
held the role when it certainly did.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.ports import Lease, RoleScheduler
from workflow_etcd_roles import Connection, Endpoint, EtcdRoleScheduler, RinkRoleScheduler
from workflow_etcd_roles.clock import elapsed

LOOKS = 0.005  # seconds between two looks at the leases
ASKS = timedelta(milliseconds=100)


def step_the_clock() -> None:
    """An hour ahead, an hour back, and so on: what this process takes for the time of day."""
    real = time.time_ns
    hour = 3_600_000_000_000
    while True:
        for offset in (hour, 0, -hour, 0):
            time.time_ns = lambda offset=offset: real() + offset  # type: ignore[misc]
            time.sleep(0.3)


def clock(options: argparse.Namespace) -> Callable[[], float]:
    """What trust is counted by; a slow one loses five seconds in a hundred."""
    return (lambda: elapsed() * 0.95) if options.clock == "slow" else elapsed


def scheduler(options: argparse.Namespace) -> RoleScheduler:
    connection = Connection(
        [Endpoint.parse(text) for text in options.endpoints.split(",")],
        adapter=options.kind,
        timeout=timedelta(seconds=2),
    )
    lease = timedelta(seconds=options.lease)
    if options.kind == "rink":
        return RinkRoleScheduler(
            connection,
            instance=options.name,
            cluster=options.prefix,
            new_member_wait=timedelta(0),
            unclaimed_after=timedelta(seconds=0.5),
            lease=lease,
            clock=clock(options),
        )
    return EtcdRoleScheduler(
        connection,
        instance=options.name,
        prefix=options.prefix,
        lease=lease,
        clock=clock(options),
    )


class Player:
    """Plays roles, and tells what it believes."""

    def __init__(self, scheduler: RoleScheduler, roles: list[str], log: Path) -> None:
        self._scheduler = scheduler
        self._roles = roles
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()
        self._held: dict[str, Lease] = {}
        self.stopping = threading.Event()

    def play(self) -> None:
        threading.Thread(target=self._look, daemon=True).start()
        while not self.stopping.is_set():
            try:
                self._ask()
            except AdapterUnavailableError:
                self.stopping.wait(0.1)
            except ClosedError:
                return
        with self._lock:
            for role, lease in self._held.items():
                self._tell(f"- {role}")
                lease.release()
            self._held.clear()

    def _ask(self) -> None:
        with self._lock:
            for role, lease in [*self._held.items()]:
                if lease.recalled.is_set():
                    self._tell(f"- {role}")
                    del self._held[role]
                    lease.release()
            wanted = [role for role in self._roles if role not in self._held]
        for lease in self._scheduler.acquire(wanted, ASKS):
            with self._lock:
                now = elapsed()
                if not lease.lost.is_set():
                    self._tell(f"+ {now:.6f} {lease.role} {lease.token}")
                    self._held[lease.role] = lease

    def _look(self) -> None:
        while True:
            with self._lock:
                now = elapsed()
                for role, lease in [*self._held.items()]:
                    if lease.lost.is_set():
                        self._tell(f"- {role}")
                        del self._held[role]
                        lease.release()
                self._tell(f"= {now:.6f}")
            time.sleep(LOOKS)

    def _tell(self, line: str) -> None:
        os.write(self._log, f"{line}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["etcd", "rink"])
    parser.add_argument("endpoints")
    parser.add_argument("prefix")
    parser.add_argument("name")
    parser.add_argument("log", type=Path)
    parser.add_argument("--roles", type=int, required=True)
    parser.add_argument("--lease", type=int, required=True)
    parser.add_argument("--clock", choices=["true", "stepped", "slow"], default="true")
    options = parser.parse_args()
    if options.clock == "stepped":
        threading.Thread(target=step_the_clock, daemon=True).start()
    roles = [f"orders-main-steps-{number}-of-{options.roles}" for number in range(options.roles)]
    with scheduler(options) as roles_of:
        player = Player(roles_of, roles, options.log)
        end: Callable[[int, object], None] = lambda *_: player.stopping.set()  # noqa: E731
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        player.play()
    sys.exit(0)


if __name__ == "__main__":
    main()
