"""The job: every order of a file through the workflow, on one SQLite file.

Stop it whenever you like, by Ctrl-C or kill -9: started again with the same files it goes on where
it was. Exit codes: 0 all reconciled, 1 not, 2 wrong usage, 130 stopped before the end.
"""

import argparse
import csv
import logging
import signal
import sqlite3
import sys
import time
from pathlib import Path

from workflow_core import Engine, RecordQuery, Serving, Trigger, Workflow
from workflow_core.errors import WorkflowError

from order_processing.customers import Customers, Line
from order_processing.flow import Order, Orders, Status
from order_processing.progress import Progress, settled_runs
from order_processing.provider import PaymentProvider
from order_processing.summary import reconcile, show

ORDERS = Path(__file__).with_name("orders.csv")
DATABASE = "where the runs are kept; made if it is missing, gone on with if not"
LOOK_EACH = 0.25  # seconds between two looks at the counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("database", nargs="?", type=Path, default=Path("orders.db"), help=DATABASE)
    parser.add_argument("--orders", type=Path, default=ORDERS, help="the input")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
    try:
        return run(options.database, read(options.orders))
    except (OSError, ValueError, sqlite3.Error, WorkflowError) as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped in order; nothing is lost. Start it again to go on.")
        return 130


def run(database: Path, lines: dict[str, Line]) -> int:
    ledger = database.with_suffix(".payments.db")
    print(f"{len(lines):,} orders, runs in {database}, the provider's ledger in {ledger}")
    with PaymentProvider(ledger) as provider, Engine.embedded(database) as engine:
        orders = Orders(provider)
        with engine.serving(orders.workflow) as serving, Customers(engine, orders, lines):
            begin(engine, orders.workflow, lines)
            watch(engine, serving, len(lines))
        rows = reconcile(engine, orders.workflow, provider, lines)
    show(rows)
    return 0 if all(row.agrees for row in rows) else 1


def begin(engine: Engine, workflow: Workflow[Order, Status], lines: dict[str, Line]) -> None:
    """A run per order. The key makes it the same run, however often the job is started."""
    triggers = [Trigger(name, line.order, idempotency_key=name) for name, line in lines.items()]
    for answer in engine.trigger_many(workflow, triggers):
        if isinstance(answer, WorkflowError):
            raise answer


def watch(engine: Engine, serving: Serving, total: int) -> None:
    """Until every run has ended or waits for a person."""
    progress = Progress(total)
    query = RecordQuery(workflow=serving.workflows[0].name)
    while settled_runs(counts := engine.counts(query)) < total:
        # After a kill -9 nobody knows yet that the process is gone: its leases have to run out.
        progress.show(counts, note="" if serving.roles else "waiting for another's leases to end")
        time.sleep(LOOK_EACH)
    progress.show(counts, last=True)


def read(path: Path) -> dict[str, Line]:
    with path.open(newline="", encoding="utf-8") as file:
        return {
            row["order_id"]: Line(
                Order(int(row["total_cents"]), row["address"], float(row["pay_within_s"])),
                row["card"],
            )
            for row in csv.DictReader(file)
        }


if __name__ == "__main__":
    sys.exit(main())
