"""Measures bursts, latencies and triggers of three trivial steps, beside a floor."""

import argparse
import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from workflow_core import Engine
from workflow_core.discovery import embedded
from workflow_core.ports import Observer
from workflow_ctl.tuning import tuned

from three_steps import bare, floor, measure, servers
from three_steps.flow import STEPS, orders

BATCH = 500
COPIED = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__)
    parser.add_argument("store", choices=["memory", "sqlite", *servers.NAMES])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="of bursts, each with a floor")
    parser.add_argument("--ended", type=int, default=0, help="runs that have ended before")
    parser.add_argument("--snapshot", action="store_true", help="beside a transaction left open")
    parser.add_argument(
        "--pool", type=int, help="MB, of MySQL's and MariaDB's cache: theirs here is a small one"
    )
    parser.add_argument(
        "--observed", action="store_true", help="with an observer that does nothing"
    )
    parser.add_argument(
        "--history", choices=["on", "off"], default="on", help="the floor keeps none"
    )
    parser.add_argument(
        "--workers", type=int, nargs="*", default=[], help="serving processes, on a server"
    )
    parser.add_argument("--folder", type=Path, help="where SQLite files go; default: a new one")
    options = parser.parse_args()
    if options.pool and options.store not in ("mysql", "mariadb"):
        parser.error("--pool is for mysql and mariadb")
    with ExitStack() as stack:
        if options.pool:
            servers.give_memory(servers.url_of(options.store), options.pool)
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(open_engine(options, folder))
        with engine.serving(orders), tuned():
            if options.ended:
                fill(engine, options.store, options.ended)
            if options.snapshot and options.store in servers.NAMES:
                stack.enter_context(servers.long_snapshot(servers.url_of(options.store)))
            tell_latencies(engine)
            for number in range(options.rounds):
                compare(engine, options.store, folder / str(number), options.runs, f"b{number}")
            waited = measure.burst(engine, options.runs, name="waited", wait_for_each=True)
            print(f"burst     {waited.runs_per_second:,.0f} runs/s with a wait for each of them")
        rate = measure.triggers(engine, max(800, options.runs // 5), 8)
        bulk = measure.bulk_triggers(engine, options.runs)
        print(f"triggers  {rate:,.0f} /s from 8 threads, {bulk:,.0f} /s in bulk, nobody serving")
        print(f"memory    {measure.peak_memory():,.0f} MB at most")
    for workers in options.workers if options.store in servers.NAMES else ():
        servers.tell_burst_of(servers.url_of(options.store), workers, options.runs)


def open_engine(options: argparse.Namespace, folder: Path) -> AbstractContextManager[Engine]:
    observers = [Observer()] if options.observed else []
    if options.store == "memory":
        return Engine.in_memory(observers=observers)
    history = {"adapters.sql.history": options.history}
    if options.store == "sqlite":
        config = embedded(folder / "b.db", overrides=history)
        return Engine(config.build(), observers=observers)
    return servers.engine_on(servers.url_of(options.store), history)


def fill(engine: Engine, store: str, runs: int) -> None:
    """On a server only the first by the engine, and the others as copies of them."""
    if store in servers.NAMES and runs > COPIED:
        fill(engine, "", COPIED)
        servers.multiply(servers.url_of(store), runs // COPIED - 1)
        print(f"filling   {runs // COPIED * COPIED:,} have ended", flush=True)
        return
    for start in range(0, runs, 50_000):
        measure.burst(engine, min(50_000, runs - start), name=f"before {start}")
        print(f"filling   {min(runs, start + 50_000):,} of {runs:,} have ended", flush=True)


def tell_latencies(engine: Engine) -> None:
    measure.latencies(engine, 20, name="warm")
    idle = measure.latencies(engine, 300)
    print(f"idle, ms  hop                     {measure.percentiles(idle.hops)}")
    print(f"          trigger → last step     {measure.percentiles(idle.to_the_last_step)}")
    print(f"          last step → wait_for    {measure.percentiles(idle.to_the_answer)}")
    print(f"          the whole run           {measure.percentiles(idle.whole)}")


def compare(engine: Engine, store: str, folder: Path, runs: int, name: str) -> None:
    """A burst, and the floor beside it."""
    done = measure.burst(engine, runs, name=name)
    print(
        f"burst     {done.runs_per_second:,.0f} runs/s, {done.transitions_per_second:,.0f}"
        f" transitions/s, {done.cpu_per_transition * 1e6:.0f} µs of CPU a write;"
        f" {done.triggers_per_second:,.0f} triggers/s in bulk"
    )
    few = max(100, runs // 50)
    if store == "memory":
        batched, single = bare.floor(runs, BATCH), bare.floor(few, 1)
    elif store in servers.NAMES:
        url = servers.url_of(store)
        batched, single = servers.floor(url, runs, BATCH), servers.floor(url, few, 1)
    else:
        folder.mkdir()
        batched, single = floor.floor(folder, runs, BATCH), floor.floor(folder, few, 1)
    print(
        f"floor     {batched:,.0f} runs/s, {batched * STEPS:,.0f} transitions/s in batches of"
        f" {BATCH}; {single:,.0f} runs/s one by one; the burst is at"
        f" {done.runs_per_second / batched:.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
