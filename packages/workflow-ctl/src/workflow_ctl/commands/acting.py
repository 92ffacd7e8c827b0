"""Steering runs: pause, resume, cancel, retry, move, delete-data; trigger and callback."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click
from workflow_core import Callback, RecordQuery
from workflow_core.errors import RunNotFoundError
from workflow_core.model import names

from workflow_ctl.base import Command, configured, defined, in_session
from workflow_ctl.commands.looking import runs
from workflow_ctl.parsing import DURATION, WHEN, decoded, json_text, status_number
from workflow_ctl.session import Session
from workflow_ctl.steering import many, steer, who_option

__all__ = ["callback", "trigger"]


@runs.command()
@many
@click.option("--reason", required=True, help="Kept with the run, and shown by why.")
@who_option
@defined
@configured
@in_session
def pause(session: Session, run_ids: tuple[str, ...], reason: str, who: str, **more: Any) -> None:
    """Pause runs: no step begins until somebody resumes them."""
    _steer(
        session,
        "pause",
        run_ids,
        more,
        one=lambda run_id: session.engine.pause(run_id, reason=reason, who=who),
        bulk=lambda bulk: bulk.pause(reason=reason, who=who),
    )


@runs.command()
@many
@who_option
@click.option("--why", default="", help="Kept with the run.")
@defined
@configured
@in_session
def resume(session: Session, run_ids: tuple[str, ...], who: str, why: str, **more: Any) -> None:
    """Let paused runs go on where they stand."""
    _steer(
        session,
        "resume",
        run_ids,
        more,
        one=lambda run_id: session.engine.resume(run_id, who=who, why=why),
        bulk=lambda bulk: bulk.resume(who=who, why=why),
    )


@runs.command()
@many
@click.option("--reason", required=True, help="Kept with the run.")
@who_option
@defined
@configured
@in_session
def cancel(session: Session, run_ids: tuple[str, ...], reason: str, who: str, **more: Any) -> None:
    """End live runs where they stand."""
    _steer(
        session,
        "cancel",
        run_ids,
        more,
        one=lambda run_id: session.engine.cancel(run_id, reason=reason, who=who),
        bulk=lambda bulk: bulk.cancel(reason=reason, who=who),
    )


@runs.command()
@many
@who_option
@click.option("--why", default="", help="Kept with the run.")
@defined
@configured
@in_session
def retry(session: Session, run_ids: tuple[str, ...], who: str, why: str, **more: Any) -> None:
    """Make runs due at once that wait for their next try, a Repeat or a start."""
    _steer(
        session,
        "retry",
        run_ids,
        more,
        one=lambda run_id: session.engine.retry_now(run_id, who=who, why=why),
        bulk=lambda bulk: bulk.retry_now(who=who, why=why),
    )


@runs.command()
@many
@click.option("--to", "goal", required=True, metavar="STATUS", help="Its name or number.")
@who_option
@click.option("--why", default="", help="Kept with the run.")
@defined
@configured
@in_session
def move(
    session: Session, run_ids: tuple[str, ...], goal: str, who: str, why: str, **more: Any
) -> None:
    """Put live runs at a status of their workflow, whether or not a step leads there.

    Needs the definition (--app), and with filters --workflow.
    """
    _need_workflow(run_ids, more)

    def one(run_id: str) -> None:
        workflow = session.workflow(_workflow_of(session, run_id))
        status = workflow.status(status_number(workflow, goal))
        session.engine.move(workflow, run_id, status, who=who, why=why)

    def bulk(made: Any) -> Any:
        workflow = session.workflow(more["workflow"])
        return made.move(workflow, workflow.status(status_number(workflow, goal)), who=who, why=why)

    _steer(session, f"move to {goal}", run_ids, more, one=one, bulk=bulk)


@runs.command("delete-data")
@many
@who_option
@click.option("--why", default="", help="Kept with the receipt.")
@defined
@configured
@in_session
def delete_data(
    session: Session, run_ids: tuple[str, ...], who: str, why: str, **more: Any
) -> None:
    """Delete the data of runs that have ended, and every copy of it. It cannot be undone.

    Needs the definition (--app), and with filters --workflow. Of one run that is named the receipt
    tells what was emptied and what is out of reach.
    """
    _need_workflow(run_ids, more)

    def one(run_id: str) -> None:
        workflow = session.workflow(_workflow_of(session, run_id))
        receipt = session.engine.delete_data(workflow, run_id, who=who, why=why)
        if len(run_ids) == 1 and not session.out.as_json:
            for phrase in receipt.erased:
                session.out.line(f"erased   {phrase}")
            for phrase in receipt.remains:
                session.out.line(f"remains  {phrase}")

    _steer(
        session,
        "delete data",
        run_ids,
        more,
        one=one,
        bulk=lambda bulk: bulk.delete_data(session.workflow(more["workflow"]), who=who, why=why),
        for_good=True,
    )


@click.command(cls=Command)
@click.argument("workflow")
@click.argument("foreign_id")
@click.option("--data", help="The run's data as JSON.")
@click.option("--data-file", metavar="FILE", help='The same from a file; "-" for standard input.')
@click.option("--status", help="Where it begins, by name or number; else at the start.")
@click.option("--key", help="An idempotency key: the same key answers the same run.")
@click.option("--start-at", type=WHEN, help="Not before this time.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE")
@click.option("--wait", type=DURATION, help="Wait so long for its end.")
@defined
@configured
@in_session
def trigger(
    session: Session,
    workflow: str,
    foreign_id: str,
    data: str | None,
    data_file: str | None,
    status: str | None,
    key: str | None,
    start_at: datetime | None,
    headers: tuple[str, ...],
    wait: timedelta | None,
) -> None:
    """Begin a run of WORKFLOW for the business key FOREIGN_ID; prints its id.

    Needs the definition (--app).
    """
    definition = session.workflow(workflow)
    given = json_text(data, data_file)
    value = decoded(definition.data_type, b"{}" if given is None else given, "the data")
    pairs = [header.partition("=") for header in headers]
    if any(not equals for _, equals, _ in pairs):
        raise click.UsageError("--header wants NAME=VALUE")
    run_id = session.engine.trigger(
        definition,
        foreign_id,
        value,
        status=None if status is None else definition.status(status_number(definition, status)),
        idempotency_key=key,
        start_at=start_at,
        headers={name: text for name, _, text in pairs},
    )
    if wait is None:
        session.out.answer({"run_id": run_id}, run_id)
        return
    session.out.note(run_id)
    ended = session.engine.wait_until_ended(definition, run_id, wait)
    session.out.answer(
        {"run_id": run_id, "status_name": ended.status.name, "state": ended.state},
        f"{ended.status.name}, {ended.state.name.lower()}",
    )


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.option("--payload", help="What it takes beside the run, as JSON.")
@click.option("--payload-file", metavar="FILE", help='The same from a file; "-": standard input.')
@click.option(
    "--wait", type=DURATION, default="0s", help="For the run to come to the callback's status."
)
@defined
@configured
@in_session
def callback(
    session: Session,
    run_id: str,
    name: str,
    payload: str | None,
    payload_file: str | None,
    wait: timedelta,
) -> None:
    """Move a run on by the callback NAME of its workflow, which runs in this process.

    Needs the definition (--app).
    """
    workflow = session.workflow(_workflow_of(session, run_id))
    steps = [step for step in workflow.callbacks if step.name == name]
    if not steps:
        known = ", ".join(sorted({step.name for step in workflow.callbacks})) or "none"
        raise click.UsageError(f"{workflow.name!r} has no callback {name!r}; it has {known}")
    step = steps[0]
    if len(steps) > 1:  # one function at several statuses: the one where the run is
        status = session.engine.view(workflow, run_id).status
        step = next((each for each in steps if each.status == int(status)), step)
    given = json_text(payload, payload_file)
    value = None
    if step.payload_type is not None:
        value = decoded(step.payload_type, b"null" if given is None else given, "the payload")
    elif given is not None:
        raise click.UsageError(f"{name} takes no payload")
    made: Callback[Any, Any, Any] = Callback(workflow, step)
    session.engine.callback(made, run_id, value, wait=wait)
    # not where the run is now: it may have gone on already
    session.out.answer({"run_id": run_id, "callback": name}, f"{name}: done")


def _need_workflow(run_ids: tuple[str, ...], filters: dict[str, Any]) -> None:
    if not run_ids and not filters["workflow"]:
        raise click.UsageError("which workflow's? Give --workflow, or name runs")


def _workflow_of(session: Session, run_id: str) -> str:
    page = session.engine.runs(RecordQuery(run_ids=[run_id]))
    if not page.items or names.is_reserved(page.items[0].workflow):
        raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
    return page.items[0].workflow


def _steer(
    session: Session,
    verb: str,
    run_ids: tuple[str, ...],
    more: dict[str, Any],
    **how: Any,
) -> None:
    everything, yes = more.pop("everything"), more.pop("yes")
    steer(session, verb, run_ids, more, everything=everything, yes=yes, **how)
