"""The deploy guard: ``workflow guard``, and what ``workflow run --guard`` does with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import click
from workflow_core import DefinitionShape, GuardReport, Workflow
from workflow_core.errors import InputError

from workflow_ctl.base import Command, configured, defined, in_session
from workflow_ctl.exits import Exit
from workflow_ctl.parsing import status_number
from workflow_ctl.session import Session

__all__ = ["guard", "guard_option", "refused"]

AnyWorkflow = Workflow[Any, Any]

guard_option = click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="[WORKFLOW:]OLD=NEW",
    help="The number of a status that is gone, and the status that takes its place.",
)


@click.command(cls=Command)
@click.argument("references", nargs=-1, metavar="[MODULE[:NAME]]...")
@click.option(
    "--before",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What --save kept of the code that runs now: edges are compared too.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the shape of this code here, for the next deploy; the stores are not asked.",
)
@guard_option
@click.option("--move", is_flag=True, help="Move runs along --map.")
@click.option("--park", is_flag=True, help="Pause runs that would be stranded, with the reason.")
@defined
@configured
@in_session
def guard(
    session: Session,
    references: tuple[str, ...],
    before: Path | None,
    save: Path | None,
    mapped: tuple[str, ...],
    move: bool,
    park: bool,
) -> None:
    """Say whether this code has all that live runs need. Exit code 1: it has not.

    It compares the statuses of live runs and their open timers with the definitions; with --before
    the edges too.
    """
    if references:
        session.apps = references
    if not session.workflows:
        raise click.UsageError("name the workflow's module, as module:name")
    if save is not None:
        shapes = [DefinitionShape.of(each).to_dict() for each in session.workflows.values()]
        save.write_text(json.dumps(shapes, indent=2) + "\n", encoding="utf-8")
        session.out.answer({"saved": str(save)}, f"saved {save}")
        return
    reports = guarded(session, mapped, before=before, move=move, park=park)
    if session.out.as_json:
        session.out.document([_document(report) for report in reports])
    else:
        for report in reports:
            _print(session, report)
    safe = all(report.is_safe for report in reports)
    click.get_current_context().exit(Exit.OK if safe else Exit.NO)


def guarded(
    session: Session,
    mapped: tuple[str, ...],
    *,
    before: Path | None = None,
    move: bool = False,
    park: bool = False,
) -> list[GuardReport]:
    """Ask the guard about each definition.

    Raises:
        click.UsageError: the mapping or the file is told wrongly.
    """
    shapes = {} if before is None else _shapes(before)
    mappings = _mappings(session, mapped)
    return [
        session.engine.guard(
            workflow,
            before=shapes.get(name),
            mapping=mappings.get(name),
            move=move,
            park=park,
        )
        for name, workflow in session.workflows.items()
    ]


def refused(session: Session, mapped: tuple[str, ...], *, park: bool) -> bool:
    """At a start: whether it is refused; says why."""
    reports = guarded(session, mapped, move=bool(mapped), park=park)
    for report in reports:
        for finding in report.findings:
            session.out.note(f"{report.workflow}: {finding.detail}. {finding.todo}.")
    return not park and not all(report.is_safe for report in reports)


def _shapes(file: Path) -> dict[str, DefinitionShape]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        shapes = [DefinitionShape.from_dict(each) for each in told]
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, TypeError, InputError) as error:
        raise click.UsageError(f"{file}: this is nothing that --save wrote") from error
    return {shape.workflow: shape for shape in shapes}


def _mappings(session: Session, mapped: tuple[str, ...]) -> Mapping[str, Mapping[int, IntEnum]]:
    mappings: dict[str, dict[int, IntEnum]] = {}
    for told in mapped:
        left, equals, new = told.rpartition("=")
        name, _, old = left.rpartition(":")
        if not equals or not old.strip().isdigit():
            raise click.UsageError(f"--map wants [WORKFLOW:]OLD=NEW, OLD a number, not {told!r}")
        if not name and len(session.workflows) > 1:
            raise click.UsageError(f"which workflow's is --map {told}? Say WORKFLOW:{told}")
        workflow = session.workflow(name) if name else next(iter(session.workflows.values()))
        goal: IntEnum = workflow.status(status_number(workflow, new))
        mappings.setdefault(workflow.name, {})[int(old)] = goal
    return mappings


def _print(session: Session, report: GuardReport) -> None:
    out = session.out
    out.line(
        f"{report.workflow}: {report.looked_at} live runs, "
        + ("safe to deploy" if report.is_safe else "NOT safe to deploy")
    )
    for finding in report.findings:
        out.line(f"  {finding.detail}.")
        out.line(f"    {finding.todo}.")
    for what, done in (("moved", report.moved), ("parked", report.parked)):
        if done is not None:
            out.line(f"  {what}: {done.changed} runs" + _rest(done.refused))


def _rest(refused_runs: int) -> str:
    return f", {refused_runs} refused" if refused_runs else ""


def _document(report: GuardReport) -> dict[str, object]:
    return {
        "workflow": report.workflow,
        "safe": report.is_safe,
        "looked_at": report.looked_at,
        "findings": [
            {
                "missing": finding.missing,
                "status": finding.status,
                "name": finding.name,
                "runs": finding.runs,
                "detail": finding.detail,
                "todo": finding.todo,
            }
            for finding in report.findings
        ],
        "moved": None if report.moved is None else report.moved.changed,
        "parked": None if report.parked is None else report.parked.changed,
    }
