"""Verbs on one run or many: guarded by a count and a confirmation, with progress."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from rich.progress import Progress
from workflow_core import Bulk, BulkProgress, RecordQuery
from workflow_core.errors import WorkflowError
from workflow_core.model import names

from workflow_ctl.exits import Exit, exit_of
from workflow_ctl.filters import filtered, is_narrow, query_of
from workflow_ctl.output import bars, counted
from workflow_ctl.records import state_told
from workflow_ctl.session import Session

__all__ = ["many", "one_by_one", "progress", "report", "steer", "who_option"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def who_option(command: F) -> F:
    """Add the options that say who acts."""
    return click.option(
        "--who", default=_me, show_default="the user of this process", help="Kept with the run."
    )(command)


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "workflow command"


def many(command: F) -> F:
    """Add runs as arguments, or filters, and what guards them."""
    command = click.option("--yes", is_flag=True, help="Do not ask: for scripts.")(command)
    command = click.option(
        "--all", "everything", is_flag=True, help="Needed where the filter leaves nothing out."
    )(command)
    command = filtered(command)
    return click.argument("run_ids", nargs=-1, metavar="[RUN]...")(command)


@dataclass
class Outcome:
    """What became of the runs."""

    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    errors: dict[str, WorkflowError] = field(default_factory=dict)


def steer(
    session: Session,
    verb: str,
    run_ids: Sequence[str],
    filters: dict[str, Any],
    *,
    one: Callable[[str], object],
    bulk: Callable[[Bulk], BulkProgress],
    everything: bool,
    yes: bool,
    for_good: bool = False,
) -> None:
    """Do it on the runs named, or on all that match; ends the command with its exit code.

    Args:
        session: the command's.
        verb: what is done, in words: "pause".
        run_ids: the runs named.
        filters: the options of `filtered`.
        one: does it on one run.
        bulk: does it on many.
        everything: whether all runs are meant where no filter is given.
        yes: ask nothing.
        for_good: it cannot be undone, so it is asked for runs that are named, too.
    """
    query = query_of(session, **filters)
    if run_ids:
        if query != RecordQuery():
            raise click.UsageError("name runs, or give filters, not both")
        named = list(dict.fromkeys(run_ids))
        if for_good and not yes:
            _ask(verb, len(named))
        outcome = _on_named(session, verb, named, one)
    else:
        total = _confirmed(session, verb, query, everything=everything, yes=yes)
        with progress(session, verb, total) as told:
            made = session.engine.bulk(
                query, everything=everything, on_progress=lambda done: told(done.seen)
            )
            done = bulk(made)
        outcome = Outcome(done.changed, done.unchanged, done.refused, done.errors)
    report(session, verb, outcome)


def _on_named(
    session: Session, verb: str, run_ids: Sequence[str], one: Callable[[str], object]
) -> Outcome:
    if len(run_ids) == 1:
        one(run_ids[0])  # its own error, and its exit code
        return Outcome(changed=1)
    with progress(session, verb, len(run_ids)) as told:
        return one_by_one({run_id: run_id for run_id in run_ids}, one, told)


def one_by_one(
    items: Mapping[str, T], do: Callable[[T], object], told: Callable[[int], None]
) -> Outcome:
    """Do it on each, by id; what is refused is no reason to leave the others.

    Args:
        items: what it is done on.
        do: does it on one.
        told: how many were seen to.
    """
    outcome = Outcome()
    for number, (id, item) in enumerate(items.items(), 1):
        try:
            do(item)
        except WorkflowError as error:
            outcome.refused += 1
            outcome.errors[id] = error
        else:
            outcome.changed += 1
        told(number)
    return outcome


def _confirmed(
    session: Session, verb: str, query: RecordQuery, *, everything: bool, yes: bool
) -> int:
    """Count what matches, show it, and have it confirmed; answers how many.

    Raises:
        click.UsageError: nothing narrows it and --all was not said.
        click.Abort: the answer was no, or there was none.
    """
    if not is_narrow(query) and not everything:
        raise click.UsageError(
            "name runs, or filters; --all for every run"
            + (f" of {query.workflow!r}" if query.workflow else "")
        )
    counts = {
        key: count
        for key, count in session.engine.counts(query).items()
        if not names.is_reserved(key[0])
    }
    total = sum(counts.values())
    out = session.out
    if total and not yes:
        for (workflow, status, state), count in sorted(counts.items()):
            name = session.status_name(workflow, status)
            out.note(f"{count:>9}  {workflow}, {name}, {state_told(state)}")
        _ask(verb, total)
    return total


def _ask(verb: str, total: int) -> None:
    click.confirm(f"{verb}: {counted(total, 'run')}?", abort=True, err=True)


class progress:  # noqa: N801 - used as a function
    """A bar on standard error while it lasts; nothing where that is no terminal."""

    def __init__(self, session: Session, verb: str, total: int) -> None:
        console = session.out.errors
        self._bar: Progress | None = None
        if console.is_terminal and total:
            self._bar = bars(console)
            self._task = self._bar.add_task(verb, total=total)

    def __enter__(self) -> Callable[[int], None]:
        if self._bar is not None:
            self._bar.start()
        return self._told

    def _told(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def __exit__(self, *failure: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def report(session: Session, verb: str, outcome: Outcome, what: str = "run") -> None:
    """Say what became of them, and end with the exit code for it."""
    out = session.out
    if out.as_json:
        out.document(
            {
                "verb": verb,
                "changed": outcome.changed,
                "unchanged": outcome.unchanged,
                "refused": outcome.refused,
                "errors": {
                    run_id: {"error": type(error).__name__, "message": str(error)}
                    for run_id, error in outcome.errors.items()
                },
            }
        )
    else:
        told = f"{verb}: {counted(outcome.changed, what)}"
        if outcome.unchanged:
            told += f", {outcome.unchanged} were so already"
        if outcome.refused:
            told += f", {outcome.refused} refused"
        out.line(told)
        for error in outcome.errors.values():
            out.note(error)
    if outcome.refused:
        codes = {exit_of(error) for error in outcome.errors.values()}
        alone = not outcome.changed and not outcome.unchanged and len(codes) == 1
        click.get_current_context().exit(codes.pop() if alone else Exit.PARTLY)
