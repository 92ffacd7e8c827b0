"""What is measured of an engine."""

import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from workflow_core import Engine, Trigger

from three_steps.flow import STEPS, Order, Status, orders

PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Burst:
    """Many runs at once, from the first trigger to the last completion."""

    runs_per_second: float
    cpu_per_transition: float  # seconds, of the whole process
    triggers_per_second: float


def burst(engine: Engine, runs: int) -> Burst:
    cpu = _cpu()
    begin = time.perf_counter()
    answers = engine.trigger_many(
        orders, [Trigger(f"burst {number}", Order(number)) for number in range(runs)]
    )
    triggered = time.perf_counter() - begin
    waiting = [engine.expect(orders, str(run_id), Status.SHIPPED) for run_id in answers]
    for future in waiting:
        future.result(PATIENCE.total_seconds())
    seconds = time.perf_counter() - begin
    return Burst(runs / seconds, (_cpu() - cpu) / runs / (STEPS + 1), runs / triggered)


def latencies(engine: Engine, runs: int) -> list[float]:
    """One run at a time on an idle engine: seconds from trigger to the answer of wait_for."""
    seconds = []
    for number in range(runs):
        begin = time.perf_counter()
        run_id = engine.trigger(orders, f"idle {number}", Order(number))
        engine.wait_for(orders, run_id, Status.SHIPPED, PATIENCE)
        seconds.append(time.perf_counter() - begin)
    return sorted(seconds)


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


def peak_memory() -> float:
    """Megabytes, of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _cpu() -> float:
    return time.process_time()
