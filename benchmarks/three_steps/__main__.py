"""Measures bursts, latencies and triggers, beside the floor.

python -m benchmarks memory
python -m benchmarks sqlite --runs 20000
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from workflow_core import Engine

from three_steps import measure
from three_steps.floor import floor
from three_steps.flow import STEPS, orders


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__)
    parser.add_argument("store", choices=["memory", "sqlite"])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where SQLite files go; default: a new one")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.store == "sqlite":
            batched = floor(folder, options.runs, 500)
            single = floor(folder, max(100, options.runs // 50), 1)
            print(f"floor     batches of 500 {batched:10,.0f} runs/s   one by one {single:,.0f}")
        engine = stack.enter_context(
            Engine.in_memory() if options.store == "memory" else Engine.embedded(folder / "b.db")
        )
        with engine.serving(orders):
            report(engine, options.runs)
        rate = measure.triggers(engine, max(800, options.runs // 5), 8)
        print(f"triggers  {rate:,.0f} /s from 8 threads, nobody serving")
        print(f"memory    {measure.peak_memory():,.0f} MB at most")


def report(engine: Engine, runs: int) -> None:
    measure.latencies(engine, 20)  # warm up
    idle = measure.latencies(engine, 300)
    shown = "  ".join(
        f"p{round(share * 100)} {measure.percentile(idle, share) * 1000:.2f}"
        for share in (0.5, 0.95, 0.99)
    )
    print(f"idle      ms from trigger to the answer of wait_for: {shown}")
    hop = measure.percentile(idle, 0.5) * 1000 / STEPS
    print(f"          about {hop:.2f} ms a step at the median")
    done = measure.burst(engine, runs)
    print(
        f"burst     {done.runs_per_second:,.0f} runs/s, {done.runs_per_second * STEPS:,.0f} "
        f"transitions/s, {done.cpu_per_transition * 1e6:.0f} µs of CPU a write; "
        f"{done.triggers_per_second:,.0f} triggers/s in bulk"
    )


if __name__ == "__main__":
    main()
