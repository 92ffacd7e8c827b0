"""What is measured of an engine."""

import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from workflow_core import Engine, RecordQuery, RunState, Trigger

from three_steps.flow import STEPS, Order, Status, orders, traced

PATIENCE = timedelta(minutes=10)
LIVE = RecordQuery(workflow=orders.name, states=[RunState.INITIATED, RunState.RUNNING])
LOOK = 0.02  # seconds between two looks whether a burst is over


@dataclass(frozen=True)
class Burst:
    """Many runs at once, from the first trigger to the last completion."""

    runs_per_second: float
    cpu_per_transition: float  # seconds, of the whole process
    triggers_per_second: float

    @property
    def transitions_per_second(self) -> float:
        """A trigger is a write as well, but no transition."""
        return self.runs_per_second * STEPS


def burst(engine: Engine, runs: int, *, name: str = "burst", wait_for_each: bool = False) -> Burst:
    """Trigger so many in bulk, and wait until no run is live, or for each run by itself."""
    cpu = time.process_time()
    begin = time.perf_counter()
    answers = engine.trigger_many(
        orders, [Trigger(f"{name} {number}", Order(number)) for number in range(runs)]
    )
    triggered = time.perf_counter() - begin
    if wait_for_each:
        for future in [engine.expect(orders, str(run_id), Status.SHIPPED) for run_id in answers]:
            future.result(PATIENCE.total_seconds())
    else:
        wait_until_none_is_live(engine)
    seconds = time.perf_counter() - begin
    cpu = time.process_time() - cpu
    return Burst(runs / seconds, cpu / runs / (STEPS + 1), runs / triggered)


def wait_until_none_is_live(engine: Engine) -> None:
    """Looking takes a fiftieth of the time: counting many runs is work as well.

    But a look that took long for once is not followed by a long sleep, which would be measured as
    if the engine had stood still: a sleep is at most a twentieth of what has passed.
    """
    start = time.perf_counter()
    while True:
        begin = time.perf_counter()
        if not engine.counts(LIVE):
            return
        now = time.perf_counter()
        time.sleep(max(LOOK, min(49 * (now - begin), (now - start) / 20)))


@dataclass(frozen=True)
class Idle:
    """One run at a time on an engine at rest; seconds, in order of size."""

    to_the_last_step: Sequence[float]  # from the trigger
    to_the_answer: Sequence[float]  # of wait_for, from when the last step began
    whole: Sequence[float]  # from the trigger to the answer
    hops: Sequence[float]  # from the beginning of one step to that of the next


def latencies(engine: Engine, runs: int, *, name: str = "idle") -> Idle:
    last_steps, answers, whole, hops = [], [], [], []
    with traced() as begun:
        for number in range(runs):
            begun.clear()
            begin = time.perf_counter()
            run_id = engine.trigger(orders, f"{name} {number}", Order(number))
            engine.wait_for(orders, run_id, Status.SHIPPED, PATIENCE)
            end = time.perf_counter()
            last_steps.append(begun[-1] - begin)
            answers.append(end - begun[-1])
            whole.append(end - begin)
            hops += [later - earlier for earlier, later in pairwise(begun)]
    return Idle(sorted(last_steps), sorted(answers), sorted(whole), sorted(hops))


def triggers(engine: Engine, runs: int, threads: int) -> float:
    """Triggers per second, one by one, from several threads of a client."""

    def work(lane: int) -> None:
        for number in range(runs // threads):
            engine.trigger(orders, f"trigger {lane} {number}", Order(number))

    workers = [threading.Thread(target=work, args=(lane,)) for lane in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return runs / (time.perf_counter() - begin)


def bulk_triggers(engine: Engine, runs: int) -> float:
    """Triggers per second, in one call."""
    wanted = [Trigger(f"bulk {number}", Order(number)) for number in range(runs)]
    begin = time.perf_counter()
    engine.trigger_many(orders, wanted)
    return runs / (time.perf_counter() - begin)


def peak_memory() -> float:
    """Megabytes, of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def percentiles(ordered: Sequence[float]) -> str:
    """The usual three, in milliseconds."""
    return "  ".join(
        f"p{share} {ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1000:7.2f}"
        for share in (50, 95, 99)
    )
