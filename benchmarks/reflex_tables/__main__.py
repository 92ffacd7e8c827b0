"""Measures the engine over Reflex's tables beside the engine over the `sql` streamer.

scripts/benchmark reflex-tables mysql|mariadb|postgres|sqlite [--runs N] [--rounds N] [--foreign N]

The record store, roles and timers are workflow-sql's in one database, and so are the events, once
in its own table, once in Reflex's, joined both times; `apart` is Reflex in another database, with
an outbox between. Rounds take turns. `--foreign` puts so many rows of somebody else's before.
"""

import argparse
import contextlib
import statistics
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from three_steps import measure, servers
from three_steps.flow import orders
from workflow_core import Engine
from workflow_core.discovery import Config
from workflow_core.ports import Secret
from workflow_reflex import ReflexSettings, create_tables

STREAMERS = ("sql", "reflex", "apart")
AT_ONCE = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark reflex-tables", description=__doc__)
    parser.add_argument("database", choices=["sqlite", *servers.NAMES])
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--foreign", type=int, default=0)
    parser.add_argument("--streamers", nargs="*", choices=STREAMERS, default=STREAMERS)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in options.streamers}
    for number in range(options.rounds):
        for streamer in options.streamers:
            with engine_on(options.database, streamer, options.foreign) as engine:
                measure.latencies(engine, 20, name="warm")
                idle = measure.latencies(engine, 200)
                done = measure.burst(engine, options.runs)
                rates[streamer].append(done.transitions_per_second)
                print(
                    f"round {number + 1}  {streamer:7} {done.transitions_per_second:,.0f}"
                    f" transitions/s, {done.cpu_per_transition * 1e6:.0f} µs of CPU a write;"
                    f" hop, ms {measure.percentiles(idle.hops)}",
                    flush=True,
                )
    for streamer, found in rates.items():
        share = statistics.median(found) / statistics.median(rates[options.streamers[0]])
        print(
            f"median   {streamer:7} {statistics.median(found):,.0f} transitions/s,"
            f" {share:.0%} of {options.streamers[0]}"
        )


@contextmanager
def engine_on(database: str, streamer: str, foreign: int) -> Iterator[Engine]:
    """One that serves, in new tables, which are dropped afterwards."""
    namespace = "b" + uuid.uuid4().hex[:8]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        url = f"sqlite:///{Path(folder) / 'b.db'}"
        if database != "sqlite":
            url = servers.url_of(database)
            stack.enter_context(servers.fresh(url, namespace))
        overrides: dict[str, object] = {
            "record_store": "sql",
            "role_scheduler": "sql",
            "timeout_store": "sql",
            "event_streamer": "sql",
            "namespace": namespace,
            "adapters.sql.url": url,
        }
        if streamer != "sql":
            # another file is another database
            events = f"sqlite:///{Path(folder) / 'e.db'}" if streamer == "apart" else url
            settings = ReflexSettings(
                url=Secret(events),
                events_table=f"{namespace}_events",
                cursors_table=f"{namespace}_cursors",
            )
            stack.enter_context(tables(settings, foreign))
            overrides |= {
                "event_streamer": "reflex",
                "adapters.reflex.url": events,
                "adapters.reflex.events_table": settings.events_table,
                "adapters.reflex.cursors_table": settings.cursors_table,
            }
        adapters = Config.load(environ={}, overrides=overrides).build()
        engine = stack.enter_context(Engine(adapters))
        stack.enter_context(engine.serving(orders))
        yield engine


@contextmanager
def tables(settings: ReflexSettings, foreign: int) -> Iterator[None]:
    create_tables(settings)
    url = make_url(settings.url.reveal())
    if url.get_backend_name() != "sqlite":
        driver = "psycopg" if url.get_backend_name() == "postgresql" else "pymysql"
        url = url.set(drivername=f"{url.get_backend_name()}+{driver}")
    engine = create_engine(url)
    row = "('somebody', '2026-01-01 00:00:00', 7, 'not JSON at all')"
    insert = f"insert into {settings.events_table} (foreign_id, timestamp, type, metadata) values "
    with engine.begin() as connection:
        for _ in range(0, foreign, AT_ONCE):
            connection.execute(text(insert + ", ".join([row] * AT_ONCE)))
    try:
        yield
    finally:
        with engine.begin() as connection:
            for table in (settings.events_table, settings.cursors_table):
                connection.execute(text(f"drop table {table}"))
        engine.dispose()


if __name__ == "__main__":
    main()
