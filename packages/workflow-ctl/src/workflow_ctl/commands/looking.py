"""Looking at runs: list, show, history; why; stats; graph."""

from __future__ import annotations

import json
from typing import Any

import click
from workflow_core import RecordQuery, SortOrder
from workflow_core.errors import RunNotFoundError

from workflow_ctl.base import Command, Group, configured, defined, in_session
from workflow_ctl.filters import filtered, query_of
from workflow_ctl.output import when
from workflow_ctl.records import COLUMNS, document, fields, row, state_told, take
from workflow_ctl.session import Session

__all__ = ["graph", "runs", "stats", "why"]


@click.group(cls=Group)
def runs() -> None:
    """Look at runs, and steer them, one or many."""


@runs.command("list")
@filtered
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--after", metavar="PAGE", help="The next page, as the page before tells it.")
@click.option("--oldest", is_flag=True, help="Oldest first; else newest first.")
@click.option("--reserved", is_flag=True, help="Show the engine's own records too.")
@defined
@configured
@in_session
def list_(
    session: Session,
    limit: int,
    after: str | None,
    oldest: bool,
    reserved: bool,
    **filters: Any,
) -> None:
    """List the runs that match."""
    query = query_of(session, **filters).replace(
        order=SortOrder.OLDEST_FIRST if oldest else SortOrder.NEWEST_FIRST, after=after
    )
    page = take(session, query, limit, reserved=reserved)
    if session.out.as_json:
        found = [document(session, record) for record in page.items]
        session.out.document({"runs": found, "next": page.next})
        return
    session.out.table(COLUMNS, [row(session, record) for record in page.items], "no runs")
    if page.next is not None:
        session.out.note(f"there are more: --after {page.next}")


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--data", is_flag=True, help="Show the run's data too, as it is stored.")
@defined
@configured
@in_session
def show(session: Session, run_id: str, data: bool) -> None:
    """Show one run as it is now."""
    page = session.engine.runs(RecordQuery(run_ids=[run_id]))
    if not page.items:
        raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
    (record,) = page.items
    stored = _readable(record.data) if data else None
    if session.out.as_json:
        shown = document(session, record)
        session.out.document({**shown, "data": stored} if data else shown)
        return
    session.out.fields(fields(session, record))
    if data:
        session.out.line()
        for line in json.dumps(stored, indent=2, ensure_ascii=False).split("\n"):
            session.out.line(line)


@runs.command()
@click.argument("run_id", metavar="RUN")
@defined
@configured
@in_session
def history(session: Session, run_id: str) -> None:
    """Show every version of a run that the store keeps, oldest first."""
    entries = session.engine.history(run_id)
    workflow = ""
    for record in session.engine.runs(RecordQuery(run_ids=[run_id])).items:
        workflow = record.workflow
    if session.out.as_json:
        session.out.document(
            {
                "run_id": run_id,
                "versions": [
                    {
                        "version": entry.version,
                        "at": entry.at,
                        "status": entry.status,
                        "status_name": session.status_name(workflow, entry.status),
                        "state": entry.state,
                        "attempts": entry.attempts,
                        "reason": entry.reason,
                        "error": entry.error,
                    }
                    for entry in entries
                ],
            }
        )
        return
    session.out.table(
        ("version", "at", "status", "state", "attempts", "reason or error"),
        [
            (
                entry.version,
                when(entry.at),
                session.status_name(workflow, entry.status),
                state_told(entry.state),
                entry.attempts or "",
                entry.reason or entry.error,
            )
            for entry in entries
        ],
        "nothing is kept",
    )


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--pool", help="Whose processes do its status; if left out: who says so.")
@defined
@configured
@in_session
def why(session: Session, run_id: str, pool: str | None) -> None:
    """Say why a run is not moving, and what to do next.

    The reason that stands in the way most comes first. With --app its definition is known too.
    """
    page = session.engine.runs(RecordQuery(run_ids=[run_id]))
    known = session.workflows.get(page.items[0].workflow) if page.items else None
    found = session.engine.why(run_id, known, pool=pool)
    out = session.out
    if out.as_json:
        out.document(
            {
                "run_id": found.run_id,
                "workflow": found.workflow,
                "foreign_id": found.foreign_id,
                "status": found.status,
                "status_name": found.status_name or str(found.status),
                "state": found.state,
                "version": found.version,
                "since": found.since,
                "now": found.now,
                "reasons": [
                    {
                        "cause": reason.cause,
                        "detail": reason.detail,
                        "todo": reason.todo,
                        "until": reason.until,
                    }
                    for reason in found.reasons
                ],
                "not_asked": found.not_asked,
            }
        )
        return
    status = found.status_name or str(found.status)
    out.line(
        f"{found.run_id} of {found.workflow}, foreign id {found.foreign_id}: at {status}, "
        f"{state_told(found.state)}, since {when(found.since)}"
    )
    for number, reason in enumerate(found.reasons, 1):
        out.line()
        out.line(f"{number}. {reason.cause}", style="bold")
        out.line(f"   {reason.detail}.")
        out.line(f"   Next: {reason.todo}.")
    if found.not_asked:
        out.line()
    for text in found.not_asked:
        out.line(f"Not asked: {text}.", style="dim")


runs.add_command(why)


@click.command(cls=Command)
@filtered
@click.option("--reserved", is_flag=True, help="Count the engine's own records too.")
@defined
@configured
@in_session
def stats(session: Session, reserved: bool, **filters: Any) -> None:
    """Count runs by workflow, status and run state."""
    query = query_of(session, **filters)
    counts = session.engine.counts(query, reserved=reserved)
    if session.out.as_json:
        session.out.document(
            {
                "total": sum(counts.values()),
                "counts": [
                    {
                        "workflow": workflow,
                        "status": status,
                        "status_name": session.status_name(workflow, status),
                        "state": state,
                        "runs": count,
                    }
                    for (workflow, status, state), count in sorted(counts.items())
                ],
            }
        )
        return
    session.out.table(
        ("workflow", "status", "state", "runs"),
        [
            (workflow, session.status_name(workflow, status), state_told(state), count)
            for (workflow, status, state), count in sorted(counts.items())
        ],
        "no runs",
    )


@click.command(cls=Command)
@click.argument("references", nargs=-1, metavar="[MODULE[:NAME]]...")
@defined
@in_session
def graph(session: Session, references: tuple[str, ...]) -> None:
    """Draw the definitions as mermaid flowcharts."""
    if references:
        session.apps = references
    if not session.workflows:
        raise click.UsageError("name the workflow's module, as module:name")
    if session.out.as_json:
        session.out.document(
            {name: workflow.diagram() for name, workflow in session.workflows.items()}
        )
        return
    for workflow in session.workflows.values():
        for line in workflow.diagram().rstrip("\n").split("\n"):
            session.out.line(line)


def _readable(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "backslashreplace")
