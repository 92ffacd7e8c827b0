"""The options that choose runs, and the query that they make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click
from workflow_core import RecordQuery, RunState

from workflow_ctl.parsing import WHEN, status_number
from workflow_ctl.session import Session

__all__ = ["STATES", "filtered", "is_narrow", "query_of"]

F = TypeVar("F", bound=Callable[..., Any])

STATES = {state.name.lower(): state for state in RunState}

_OPTIONS = (
    click.option("--workflow", help="Of this workflow alone."),
    click.option("--foreign-id", help="With this business key."),
    click.option("--status", "statuses", multiple=True, help="At this status: number or name."),
    click.option("--state", "states", multiple=True, type=click.Choice(list(STATES))),
    click.option("--created-after", type=WHEN, help="A time, or how long ago, as 2h."),
    click.option("--created-before", type=WHEN),
    click.option("--updated-after", type=WHEN),
    click.option("--updated-before", type=WHEN),
    click.option(
        "--search",
        multiple=True,
        metavar="NAME=VALUE",
        help="With this search attribute; a whole number is taken for one.",
    ),
)


def filtered(command: F) -> F:
    """Add the options; they arrive as ``filters``, for `query_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def query_of(
    session: Session,
    *,
    workflow: str | None,
    foreign_id: str | None,
    statuses: tuple[str, ...],
    states: tuple[str, ...],
    created_after: datetime | None,
    created_before: datetime | None,
    updated_after: datetime | None,
    updated_before: datetime | None,
    search: tuple[str, ...],
) -> RecordQuery:
    """The query that the options make.

    Raises:
        click.UsageError: a status or a search attribute is told wrongly.
    """
    known = session.workflows.get(workflow) if workflow else None
    return RecordQuery(
        workflow=workflow,
        foreign_id=foreign_id,
        statuses=[status_number(known, each) for each in statuses] or None,
        states=[STATES[each] for each in states] or None,
        created_after=created_after,
        created_before=created_before,
        updated_after=updated_after,
        updated_before=updated_before,
        search=dict(map(_attribute, search)) or None,
    )


def is_narrow(query: RecordQuery) -> bool:
    """Whether it asks for less than all runs of a workflow."""
    return query != RecordQuery(workflow=query.workflow)


def _attribute(told: str) -> tuple[str, str | int]:
    name, equals, value = told.partition("=")
    if not equals:
        raise click.UsageError(f"--search wants NAME=VALUE, not {told!r}")
    return name, int(value) if value.lstrip("-").isdecimal() else value
