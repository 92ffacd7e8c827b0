"""Workers: who serves."""

from __future__ import annotations

import click
from workflow_core import WorkerState, WorkerView

from workflow_ctl.base import Command, configured, in_session
from workflow_ctl.exits import Exit
from workflow_ctl.output import when
from workflow_ctl.session import Session

__all__ = ["workers"]

_FIELDS = (
    "instance", "state", "pool", "workflows", "roles", "versions", "code_version", "started_at",
    "last_seen", "last_progress", "trouble",
)  # fmt: skip


@click.command(cls=Command)
@configured
@in_session
def workers(session: Session) -> None:
    """List the processes that serve over the record store, and what each plays.

    One that died is listed as lost for a day; one that stopped in order is not listed. One that
    newer code runs may be unreadable from here. Exit code 1: one is lost.
    """
    found = session.engine.workers()
    if session.out.as_json:
        session.out.document([{name: getattr(each, name) for name in _FIELDS} for each in found])
    else:
        columns = ("worker", "state", "serves", "roles", "core", "code", "since", "seen", "worked")
        session.out.table(columns, [_row(each) for each in found], "nobody serves")
        for each in found:
            if each.trouble:
                session.out.note(f"{each.instance}: {each.trouble}")
    is_lost = any(each.state is WorkerState.LOST for each in found)
    click.get_current_context().exit(Exit.NO if is_lost else Exit.OK)


def _row(worker: WorkerView) -> tuple[object, ...]:
    in_pool = "" if worker.pool in ("", "main") else f" (pool {worker.pool})"
    return (
        worker.instance,
        worker.state,
        ", ".join(worker.workflows) + in_pool,
        ", ".join(worker.roles_in_short),
        worker.versions.get("workflow-core", ""),
        worker.code_version,
        when(worker.started_at),
        when(worker.last_seen),
        when(worker.last_progress),
    )
