"""Dead letters: list, retry, discard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click
from workflow_core import DeadLetter, LetterKind, LetterState
from workflow_core.errors import RunNotFoundError

from workflow_ctl.base import Group, configured, in_session
from workflow_ctl.output import counted, when
from workflow_ctl.session import Session
from workflow_ctl.steering import one_by_one, progress, report

__all__ = ["letters"]

F = TypeVar("F", bound=Callable[..., Any])

_KINDS = {kind.value: kind for kind in LetterKind}
_STATES = {state.value.replace(" ", "-"): state for state in LetterState}


@click.group("dead-letters", cls=Group)
def letters() -> None:
    """What hooks, connectors and deletions could not handle: list, retry, discard."""


@letters.command("list")
@click.argument("workflow")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(_KINDS)))
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(list(_STATES)),
    default=["set-aside"],
    show_default=True,
)
@click.option("--about", help="Of this run id, or this key of a connector's events, alone.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--after", metavar="PAGE", help="The next page, as the page before tells it.")
@configured
@in_session
def list_(
    session: Session,
    workflow: str,
    kinds: Sequence[str],
    states: Sequence[str],
    about: str | None,
    limit: int,
    after: str | None,
) -> None:
    """List a workflow's dead letters, newest first; never what they carry."""
    page = session.engine.dead_letters(
        workflow,
        kinds=[_KINDS[each] for each in kinds] or tuple(LetterKind),
        states=[_STATES[each] for each in states],
        about=about,
        after=after,
        limit=limit,
    )
    if session.out.as_json:
        names = (
            "id", "workflow", "kind", "name", "state", "attempts", "error", "run_id", "version",
            "foreign_id", "event_id", "created_at", "updated_at", "next_try_at",
        )  # fmt: skip
        shown = [{name: getattr(each, name) for name in names} for each in page.items]
        session.out.document({"letters": shown, "next": page.next})
        return
    session.out.table(
        ("letter", "kind", "name", "state", "attempts", "about", "updated", "error"),
        [
            (
                each.id,
                each.kind,
                each.name,
                each.state,
                each.attempts,
                each.run_id or each.foreign_id,
                when(each.updated_at),
                each.error,
            )
            for each in page.items
        ],
        "no dead letters",
    )
    if page.next is not None:
        session.out.note(f"there are more: --after {page.next}")


def _chosen(command: F) -> F:
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask: for scripts."),
        click.option("--all", "everything", is_flag=True, help="All that are set aside."),
        click.argument("ids", nargs=-1, metavar="[LETTER]..."),
        click.argument("workflow"),
    ):
        command = option(command)
    return command


@letters.command()
@_chosen
@configured
@in_session
def retry(session: Session, workflow: str, ids: Sequence[str], everything: bool, yes: bool) -> None:
    """Let letters be tried again at once, by the processes that serve the workflow."""
    _change(session, "retry", workflow, ids, everything, yes, session.engine.retry_dead_letter)


@letters.command()
@_chosen
@configured
@in_session
def discard(
    session: Session, workflow: str, ids: Sequence[str], everything: bool, yes: bool
) -> None:
    """Give letters up for good. It cannot be undone."""
    _change(session, "discard", workflow, ids, everything, yes, session.engine.discard_dead_letter)


def _change(
    session: Session,
    verb: str,
    workflow: str,
    ids: Sequence[str],
    everything: bool,
    yes: bool,
    change: Callable[[DeadLetter], None],
) -> None:
    if bool(ids) == everything:
        raise click.UsageError("name letters, or say --all")
    states = tuple(LetterState) if ids else (LetterState.SET_ASIDE,)
    found = [
        letter for letter in _all(session, workflow, states) if everything or letter.id in set(ids)
    ]
    if missing := set(ids) - {letter.id for letter in found}:
        raise RunNotFoundError(f"no dead letter {min(missing)}", workflow=workflow)
    if found and not yes:
        many = counted(len(found), "dead letter")
        click.confirm(f"{verb} {many} of {workflow}?", abort=True, err=True)
    with progress(session, verb, len(found)) as told:
        outcome = one_by_one({letter.id: letter for letter in found}, change, told)
    report(session, verb, outcome, "dead letter")


def _all(session: Session, workflow: str, states: Sequence[LetterState]) -> Iterator[DeadLetter]:
    after: str | None = None
    while True:
        page = session.engine.dead_letters(workflow, states=states, after=after, limit=1000)
        yield from page.items
        if page.next is None:
            return
        after = page.next
