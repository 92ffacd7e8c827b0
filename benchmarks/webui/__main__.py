"""How long the web UI's pages take with many runs in the store.

    python -m benchmarks.webui postgresql://… [--runs 100000] [--times 60]

Fills an empty schema, serves the app, and asks for each page one after the other: "first" after all
that is remembered was forgotten, "again" as a page that stays fresh asks. The figures are the whole
way, from the request to the last byte of the answer, in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import msgspec
import uvicorn
from sqlalchemy import create_engine, text
from workflow_core import Engine, Record, RunState, Workflow
from workflow_core import Run as RunOf
from workflow_core.ports import Write
from workflow_sql import upgrade
from workflow_webui import create_app

AT_ONCE = 1_000


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    customer: str
    address: str
    total: int


def workflows() -> list[Workflow[Order, Status]]:
    found = []
    for name in ("orders", "refunds", "parcels"):
        made = Workflow(name, Order, Status, ends=(Status.SHIPPED,))

        def pay(run: RunOf[Order, Status]) -> Literal[Status.PAID]:
            return Status.PAID

        def ship(run: RunOf[Order, Status]) -> Literal[Status.SHIPPED]:
            return Status.SHIPPED

        made.step(Status.CREATED)(pay)
        made.step(Status.PAID)(ship)
        found.append(made)
    return found


def fill(engine: Engine, names: list[str], runs: int) -> str:
    """Nine of ten have ended; answers the id of one that lives."""
    store, living = engine.adapters.record_store, ""
    for begin in range(0, runs, AT_ONCE):
        writes = []
        for number in range(begin, min(begin + AT_ONCE, runs)):
            lives = number % 10 == 0
            record = Record(
                workflow=names[number % len(names)],
                foreign_id=f"order-{number}",
                run_id=run_of(number),
                status=1 + number % 2 if lives else 3,
                state=RunState.RUNNING if lives else RunState.COMPLETED,
                version=1,
                write_id=f"w{number}",
                data=msgspec.json.encode(Order(f"customer {number}", "1 Long Lane, Leith", number)),
            )
            living = record.run_id if lives else living
            writes.append(Write(record=record))
        store.store_many(writes)
    return living


def settle(url: str) -> None:
    """As a store looks that was filled in a day and not in seconds."""
    database = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        spread = "at - (random() * 86400000000)::bigint"
        connection.execute(
            text(
                "update workflow_records set"
                f" created_at = created_{spread}, updated_at = updated_{spread}"
            )
        )
        connection.execute(text("vacuum analyze workflow_records"))
    database.dispose()


def run_of(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012x}"


def ask(url: str) -> tuple[float, str]:
    begin = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    return (time.perf_counter() - begin) * 1000, text


def measure(ui: Any, url: str, times: int) -> tuple[list[float], list[float]]:
    first, again = [], []
    for _ in range(times):
        ui.remembered.forget()
        first.append(ask(url)[0])
        again.append(ask(url)[0])
    return first, again


def told(values: list[float]) -> str:
    cut = statistics.quantiles(values, n=20)
    return f"{statistics.median(values):6.1f} {cut[-1]:6.1f} {max(values):6.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=60)
    options = parser.parse_args()
    upgrade(options.url)
    ports = ("RECORD_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER", "TIMEOUT_STORE")
    environ = {"WORKFLOW_SQL__URL": options.url, **{f"WORKFLOW_{port}": "sql" for port in ports}}
    with Engine.from_config(environ=environ) as engine:
        known = workflows()
        begin = time.monotonic()
        run_id = fill(engine, [each.name for each in known], options.runs)
        settle(options.url)
        print(f"{options.runs} runs in {time.monotonic() - begin:.0f} s")
        app = create_app(engine, known)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        root = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        pages = {
            "overview": "/",
            "list": "/runs",
            "list, one workflow": "/runs?workflow=orders",
            "list, one status": "/runs?workflow=orders&status=2",
            "list, one state": "/runs?workflow=orders&state=completed",
            "list, foreign id": "/runs?foreign_id=order-5000",
            "list, 20 pages on": "",
            "free text": "/runs?q=customer+99999",
            "one run": f"/runs/{run_id}",
            "graph": "/workflows/orders",
            "outbox and lag": "/flow",
        }
        print(f"{'':20} first: p50    p95    max   again: p50    p95    max")
        for name, path in pages.items():
            where = path or deep(root)
            first, again = measure(app.state.workflow_ui, root + where, options.times)
            print(f"{name:20}     {told(first)}         {told(again)}", flush=True)
        server.should_exit = True
        thread.join(timedelta(seconds=10).total_seconds())


def deep(root: str) -> str:
    path = "/runs"
    for _ in range(20):
        page = ask(root + path)[1]
        path = "/runs" + page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    return path


if __name__ == "__main__":
    main()
