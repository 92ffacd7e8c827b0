"""Schedules: list, pause, resume."""

from __future__ import annotations

import click

from workflow_ctl.base import Group, configured, in_session
from workflow_ctl.output import when
from workflow_ctl.session import Session
from workflow_ctl.steering import who_option

__all__ = ["schedules"]


@click.group(cls=Group)
def schedules() -> None:
    """Look at schedules, pause and resume them."""


@schedules.command("list")
@click.option("--workflow", help="Of this workflow alone.")
@configured
@in_session
def list_(session: Session, workflow: str | None) -> None:
    """List every schedule that has been served once."""
    found = session.engine.schedules(workflow)
    if session.out.as_json:
        names = (
            "workflow", "name", "recurrence", "next_tick", "last_tick", "last_run_id", "note",
            "is_paused", "reason", "attempts", "last_error", "next_try_at",
        )  # fmt: skip
        session.out.document([{name: getattr(each, name) for name in names} for each in found])
        return
    session.out.table(
        ("workflow", "schedule", "recurrence", "next", "last", "last run", "remark"),
        [
            (
                each.workflow,
                each.name,
                each.recurrence,
                "paused" if each.is_paused else when(each.next_tick),
                when(each.last_tick),
                each.last_run_id,
                each.reason or each.last_error or each.note,
            )
            for each in found
        ],
        "no schedules",
    )


@schedules.command()
@click.argument("workflow")
@click.argument("name")
@click.option("--reason", required=True, help="Kept with it.")
@configured
@in_session
def pause(session: Session, workflow: str, name: str, reason: str) -> None:
    """Begin no more runs by this schedule until it is resumed."""
    session.engine.pause_schedule(workflow, name, reason=reason)
    session.out.answer({"workflow": workflow, "name": name, "is_paused": True}, "paused")


@schedules.command()
@click.argument("workflow")
@click.argument("name")
@who_option
@click.option("--why", default="", help="Kept with it.")
@configured
@in_session
def resume(session: Session, workflow: str, name: str, who: str, why: str) -> None:
    """Let it go on with its next tick; what was due meanwhile is not made up for."""
    view = session.engine.resume_schedule(workflow, name, who=who, why=why)
    session.out.answer(
        {"workflow": workflow, "name": name, "is_paused": False, "next_tick": view.next_tick},
        f"resumed; next at {when(view.next_tick)}",
    )
