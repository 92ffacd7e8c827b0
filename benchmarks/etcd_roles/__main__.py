"""Measures roles over etcd beside a floor: taking them, handing them on, spreading, and resting.

The floor is one key created and removed, each in a transaction of its own, by the same client: what
etcd and the network cost alone.
"""

import argparse
import os
import resource
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from etcd3 import etcdrpc
from workflow_core.ports import AdapterContext, Lease
from workflow_etcd_roles import Connection, Endpoint, EtcdRoleScheduler, EtcdSettings, requests

LONG = timedelta(seconds=60)
MEMBERS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark etcd-roles", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("WORKFLOW_TEST_ETCD_URL"))
    parser.add_argument("--roles", type=int, default=200)
    parser.add_argument("--rest", type=int, default=30, help="seconds to rest")
    options = parser.parse_args()
    if options.url is None:
        parser.error("where is etcd? --url, or WORKFLOW_TEST_ETCD_URL")
    settings = EtcdSettings(endpoints=(options.url,), prefix=f"benchmark-{uuid.uuid4().hex[:12]}")
    roles = [f"orders-main-steps-{number}-of-{options.roles}" for number in range(options.roles)]
    with ExitStack() as stack:
        floor(options.url, settings.prefix)
        members = [
            stack.enter_context(
                EtcdRoleScheduler.from_config(settings, AdapterContext(instance=f"member-{number}"))
            )
            for number in range(MEMBERS)
        ]
        print(members[0].check_health())
        one_role(members[0])
        hand_on(members[0], members[1])
        spread(members, roles)
        rest(members, options.rest)


def floor(url: str, prefix: str) -> None:
    connection = Connection([Endpoint.parse(url)], adapter="etcd")
    key = f"{prefix}/floor".encode()
    create = requests.transaction([requests.created(key, 0)], [requests.put(key, b"")])
    remove = requests.transaction([], [requests.delete(key)])

    def both() -> None:
        connection.ask(create, doing="creating")
        connection.ask(remove, doing="removing")

    connection.ask(etcdrpc.StatusRequest(), doing="connecting")
    told("floor: create a key and remove it", both)
    connection.close()


def one_role(member: EtcdRoleScheduler) -> None:
    def both() -> None:
        (lease,) = member.acquire(["alone"], LONG)
        lease.release()

    both()
    told("acquire a role that is free again, and release it", both)


def hand_on(one: EtcdRoleScheduler, two: EtcdRoleScheduler) -> None:
    """From the release to the grant in the other, which waits for it."""
    times = []
    for number in range(50):
        role = f"handed-on-{number}"
        lease = one.try_acquire(role)
        assert lease is not None
        got: list[float] = []

        def wait(role: str = role, got: list[float] = got) -> None:
            two.acquire([role], LONG)
            got.append(time.perf_counter())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.06)
        begun = time.perf_counter()
        lease.release()
        thread.join()
        times.append((got[0] - begun) * 1000)
    told_times("hand a role on to one who waits", times)


def spread(members: list[EtcdRoleScheduler], roles: list[str]) -> None:
    """All begin at once; until each has its share and nothing is recalled."""
    hands: list[dict[str, Lease]] = [{} for _ in members]
    stop = threading.Event()
    grants = [0]

    def keep(member: EtcdRoleScheduler, hand: dict[str, Lease]) -> None:
        while not stop.is_set():
            for role, lease in [*hand.items()]:
                if lease.recalled.is_set() or lease.lost.is_set():
                    del hand[role]
                    lease.release()
            wanted = [role for role in roles if role not in hand]
            for lease in member.acquire(wanted, timedelta(milliseconds=100)):
                hand[lease.role] = lease
                grants[0] += 1

    begun = time.perf_counter()
    threads = [
        threading.Thread(target=keep, args=(member, hand))
        for member, hand in zip(members, hands, strict=True)
    ]
    for thread in threads:
        thread.start()
    while sum(map(len, hands)) < len(roles) or max(map(len, hands)) > len(roles) / MEMBERS + 1:
        time.sleep(0.005)
    took = time.perf_counter() - begun
    stop.set()
    for thread in threads:
        thread.join()
    print(
        f"spread {len(roles)} roles over {MEMBERS} members that begin at once:"
        f" {took:.2f} s, {grants[0]} grants, shares {[len(hand) for hand in hands]}"
    )


def rest(members: list[EtcdRoleScheduler], seconds: int) -> None:
    asked = [0]
    for member in members:
        attempt = member._connection._attempt

        def counting(*given: Any, attempt: Callable[..., Any] = attempt, **more: Any) -> Any:
            asked[0] += 1
            return attempt(*given, **more)

        member._connection._attempt = counting  # type: ignore[method-assign]
    before = cpu()
    time.sleep(seconds)
    print(
        f"at rest, with a lease of 10 s: {asked[0] * 60 / seconds / MEMBERS:.0f} requests"
        f" and {(cpu() - before) * 60_000 / seconds / MEMBERS:.0f} ms of CPU a minute and member"
    )


def told(what: str, both: Callable[[], None]) -> None:
    times = []
    for _ in range(300):
        begun = time.perf_counter()
        both()
        times.append((time.perf_counter() - begun) * 1000)
    told_times(what, times)


def told_times(what: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=100)
    print(f"{what}: {cuts[49]:.1f} ms p50, {cuts[98]:.1f} ms p99")


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
