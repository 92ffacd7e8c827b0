"""Runs a great many runs through one process, and tells its memory as it goes.

Ended runs are purged all along, so that nothing has to grow. Two figures tell a leak from what the
allocators hold on to: what is resident, and how many of Python's blocks are in use. A leak shows in
both. Where the first grows alone, what is in use lies scattered over more pages than it needs.
"""

import argparse
import gc
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from three_steps import measure
from three_steps.flow import orders
from workflow_core import Engine

PART = 10_000
NOW = timedelta(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark endurance", description=__doc__)
    parser.add_argument("store", choices=["memory", "sqlite"])
    parser.add_argument("--runs", type=int, default=1_000_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(
            Engine.in_memory() if options.store == "memory" else Engine.embedded(folder / "b.db")
        )
        stack.enter_context(engine.serving(orders))
        endure(engine, options.runs)


def endure(engine: Engine, runs: int) -> None:
    begin = time.monotonic()
    told = first = 0.0
    for done in range(PART, runs + 1, PART):
        measure.burst(engine, PART, name=f"part {done}")
        engine.purge(orders, older_than=NOW)
        if done * 10 < runs or (done * 20 // runs) == told:
            continue
        told = done * 20 // runs
        gc.collect()
        now = resident()
        first = first or now
        print(
            f"{done:12,} runs  {now:7.1f} MB  {now - first:+7.1f} MB since the first tenth"
            f"  {sys.getallocatedblocks():9,} blocks"
            f"  {done / (time.monotonic() - begin):7,.0f} runs/s with their purge",
            flush=True,
        )


def resident() -> float:
    """Megabytes of this process in memory now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
