"""Reconciles what the store and the payment provider say with the input file."""

from dataclasses import dataclass

from workflow_core import Engine, RecordQuery, RunState, Workflow

from order_processing.customers import Line
from order_processing.flow import Order, Status
from order_processing.provider import PaymentProvider


@dataclass(frozen=True)
class Row:
    """One line of the summary."""

    what: str
    in_file: int
    found: int
    at_least: bool = False

    @property
    def agrees(self) -> bool:
        return self.found >= self.in_file if self.at_least else self.found == self.in_file


def reconcile(
    engine: Engine,
    workflow: Workflow[Order, Status],
    provider: PaymentProvider,
    lines: dict[str, Line],
) -> list[Row]:
    """What should have become of the orders in the file, beside what did."""
    expected = dict.fromkeys(("shipped", "refused", "no address", "bank does not answer"), 0)
    owed = 0
    for line in lines.values():
        outcome = _outcome(line)
        expected[outcome] += 1
        owed += line.order.total_cents if outcome == "shipped" else 0
    found, odd_histories = _found(engine, workflow)
    charges, cents, asked = provider.charges()
    slow = sum(_outcome(line) == "shipped" and line.card == "slow" for line in lines.values())
    return [
        Row("orders", len(lines), sum(found.values())),
        Row("  shipped", expected["shipped"], found["shipped"]),
        Row("  refused", expected["refused"], found["refused"]),
        Row("  paused: no address", expected["no address"], found["no address"]),
        Row("  paused: bank fails", expected["bank does not answer"], found["gave up"]),
        Row("runs left unfinished", 0, found["unfinished"]),
        Row("versions missing or doubled", 0, odd_histories),
        Row("charges", expected["shipped"], charges),
        Row("cents charged", owed, cents),
        # A step may run again after a kill -9; the provider then sees a key that it knows.
        Row("charges asked for again", slow, asked - charges, at_least=True),
    ]


def _outcome(line: Line) -> str:
    if line.order.total_cents <= 0:
        return "refused"
    if not line.order.address:
        return "no address"
    unusual = {"": "refused", "stolen": "refused", "broken": "bank does not answer"}
    return unusual.get(line.card, "shipped")


def _found(engine: Engine, workflow: Workflow[Order, Status]) -> tuple[dict[str, int], int]:
    counts = dict.fromkeys(("shipped", "refused", "no address", "gave up", "unfinished"), 0)
    odd_histories = 0
    query = RecordQuery(workflow=workflow.name, limit=1000)
    while True:
        page = engine.runs(query)
        for record in page.items:
            if record.state is RunState.PAUSED:
                counts["no address" if record.pause_kind == "step" else "gave up"] += 1
            elif record.state is RunState.COMPLETED:
                counts["shipped" if record.status == Status.SHIPPED else "refused"] += 1
            else:
                counts["unfinished"] += 1
            versions = [entry.version for entry in engine.history(record.run_id)]
            odd_histories += versions != list(range(1, record.version + 1))
        if page.next is None:
            return counts, odd_histories
        query = query.replace(after=page.next)


def show(rows: list[Row]) -> None:
    """Print the summary."""
    print(f"\n  {'':<30}{'in the file':>14}{'found':>14}")
    for row in rows:
        verdict = "DIFFERS" if not row.agrees else "ok" if row.found == row.in_file else "ok, more"
        print(f"  {row.what:<30}{row.in_file:>14,}{row.found:>14,}   {verdict}")
