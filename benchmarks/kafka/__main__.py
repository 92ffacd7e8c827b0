"""Measures the engine on a database and Kafka, beside the floor.

scripts/benchmark kafka --database postgresql://… --kafka host:port [--runs N] [--workers 1 2 4]
"""

import argparse
import os
import threading
import time
import uuid
from pathlib import Path

import workflow_sql
from three_steps import measure, workers
from three_steps.flow import STEPS, orders

from kafka.floor import Floor

BATCH = 500


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark kafka", description=__doc__)
    parser.add_argument("--database", default=os.environ.get("WORKFLOW_TEST_POSTGRES_URL", ""))
    parser.add_argument("--kafka", default=os.environ.get("WORKFLOW_TEST_KAFKA_URL", ""))
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved with the floor's")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    options = parser.parse_args()
    if not options.database or not options.kafka:
        parser.error("a database and a broker are needed; scripts/services urls names some")
    servers = options.kafka.removeprefix("kafka://")
    floor = Floor(options.database, servers, BATCH)
    floor.latencies(20)
    for round in range(options.rounds):
        print(f"round {round + 1}")
        print(f"floor, ms three hops              {measure.percentiles(floor.latencies(200))}")
        cpu = time.process_time()
        rate = floor.burst(options.runs)
        cpu = (time.process_time() - cpu) / options.runs / (STEPS + 1)
        print(
            f"floor     {rate:,.0f} runs/s, {rate * STEPS:,.0f} transitions/s in batches of"
            f" {BATCH}; {cpu * 1e6:.0f} µs of CPU a write"
        )
        settings = settings_of(options.database, servers)
        workflow_sql.upgrade(options.database, namespace=str(settings["namespace"]))
        with workers.open_engine(settings) as engine, engine.serving(orders):
            measure.latencies(engine, 20, name="warm")
            idle = measure.latencies(engine, 200)
            print(f"idle, ms  hop                     {measure.percentiles(idle.hops)}")
            print(f"          trigger → last step     {measure.percentiles(idle.to_the_last_step)}")
            done = measure.burst(engine, options.runs)
            print(
                f"burst     {done.runs_per_second:,.0f} runs/s, {done.transitions_per_second:,.0f}"
                f" transitions/s, {done.cpu_per_transition * 1e6:.0f} µs of CPU a write:"
                f" one process, its client too; at {done.runs_per_second / rate:.0%} of the floor"
            )
            if round == 0:
                footprint()
        for count in options.workers:
            settings = settings_of(options.database, servers)
            workflow_sql.upgrade(options.database, namespace=str(settings["namespace"]))
            workers.tell_burst(settings, count, options.runs)
    floor.close()


def settings_of(database: str, servers: str) -> dict[str, object]:
    return {
        "record_store": "sql",
        "role_scheduler": "sql",
        "event_streamer": "kafka",
        "namespace": "b" + uuid.uuid4().hex[:8],
        "adapters.sql.url": database,
        "adapters.kafka.bootstrap_servers": servers,
    }


def footprint() -> None:
    """Of this process, which serves one workflow."""
    sockets = sum("socket:" in _target(link) for link in Path("/proc/self/fd").iterdir())
    tasks = len(list(Path("/proc/self/task").iterdir()))
    print(
        f"process   {threading.active_count()} threads of Python, {tasks} of the system,"
        f" {sockets} sockets, {measure.peak_memory():.0f} MB at most"
    )


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


if __name__ == "__main__":
    main()
