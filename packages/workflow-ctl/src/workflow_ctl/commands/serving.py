"""Serving: ``workflow run``."""

from __future__ import annotations

import os
import sys

import click

from workflow_ctl.base import Command, configured, defined, in_session
from workflow_ctl.commands.guarding import guard_option, refused
from workflow_ctl.exits import Exit
from workflow_ctl.running import serve
from workflow_ctl.session import APP, Session
from workflow_ctl.supervising import child_arguments, supervise

__all__ = ["run"]


@click.command(cls=Command)
@click.argument("references", nargs=-1, metavar="[MODULE[:NAME]]...")
@click.option(
    "-n",
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="How many processes share the work.",
)
@click.option(
    "--live/--no-live", default=None, help="Show what is going on; by default on a terminal."
)
@click.option("--pool", default="main", show_default=True, help="The pool to work in.")
@click.option(
    "--status", "statuses", multiple=True, help="A status of the pool, by name; for main: else all."
)
@click.option(
    "--guard",
    "guarding",
    type=click.Choice(["refuse", "park"]),
    help="Ask the guard first: end with exit code 1, or pause what would be stranded.",
)
@guard_option
@click.option("--child", is_flag=True, hidden=True)
@click.option("--ready-to", type=int, hidden=True)
@defined
@configured
@in_session
def run(
    session: Session,
    references: tuple[str, ...],
    processes: int,
    pool: str,
    statuses: tuple[str, ...],
    guarding: str | None,
    mapped: tuple[str, ...],
    live: bool | None,
    child: bool,
    ready_to: int | None,
) -> None:
    """Work on workflows until SIGTERM or Ctrl-C, then stop in order.

    MODULE:NAME is a workflow, several in a list, or a function that answers them; MODULE alone is
    all that it has. A second signal ends it at once. With --processes, SIGHUP restarts one process
    after the other.

    Exit code 0: stopped in order; 1: refused by --guard; 6: work was abandoned, and comes again
    elsewhere.
    """
    if references:
        session.apps = references
    if not session.workflows:
        raise click.UsageError("name the workflow's module, as module:name")
    if live is None:
        live = sys.stdout.isatty() and not session.out.as_json and not child
    if guarding is not None and refused(session, mapped, park=guarding == "park"):
        session.out.note("refused to start: live runs need what this code lacks")
        click.get_current_context().exit(Exit.NO)
    if processes == 1:
        code = serve(
            session, pool=pool, statuses=statuses, live=live, is_child=child, ready_to=ready_to
        )
    else:
        names = references or tuple(session.apps) or tuple(os.environ.get(APP, "").split())
        session.config  # noqa: B018 - a mistake in it is told here, once
        code = supervise(
            session, processes, child_arguments(session, names, pool, statuses), live=live
        )
    click.get_current_context().exit(code)
