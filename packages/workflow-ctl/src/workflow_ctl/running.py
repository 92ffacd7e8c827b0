"""Serves in this process until a signal comes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from enum import IntEnum

import click
from workflow_core import EngineSettings

from workflow_ctl.exits import Exit
from workflow_ctl.live import LiveView, of_serving
from workflow_ctl.logs import log_to
from workflow_ctl.session import Session
from workflow_ctl.signals import StopSignals
from workflow_ctl.tuning import tuned

__all__ = ["serve"]


def serve(
    session: Session,
    *,
    pool: str,
    statuses: Sequence[str],
    live: bool,
    is_child: bool,
    ready_to: int | None,
) -> Exit:
    """Serve what the session's definitions are; answers the exit code.

    Args:
        session: the command's.
        pool: the pool to work in.
        statuses: those that the pool works on, by name; none: all.
        live: draw what is going on.
        is_child: stop where standard input ends: then the parent has died.
        ready_to: a file descriptor that is told, by one byte, when work has begun.
    """
    out = session.out
    log_to(out.console if live else out.errors)
    grace = session.config.section("engine", EngineSettings).stop_grace
    with StopSignals(grace) as signals:
        engine, workflows = session.engine, list(session.workflows)
        chosen = _statuses(session, statuses)
        serving = engine.serving(*session.workflows.values(), pool=pool, statuses=chosen).start()
        out.note(f"serving {', '.join(workflows)}; SIGTERM or Ctrl-C stops it")
        if is_child:
            threading.Thread(target=_stop_with_parent, name="parent watch", daemon=True).start()
        if ready_to is not None:
            os.write(ready_to, b"r")
            os.close(ready_to)
        columns, rows = ("where", "", ""), of_serving(session, serving)
        with (
            tuned(),
            LiveView(out.console, session, workflows, engine, columns, rows)
            if live
            else nullcontext(),
        ):
            abandoned = signals.stop_when_told(serving)
    _tell(session, abandoned)
    return Exit.PARTLY if abandoned else Exit.OK


def _statuses(session: Session, names: Sequence[str]) -> list[IntEnum] | None:
    """Of whichever workflows that have one of the name."""
    found: list[IntEnum] = []
    for name in names:
        mine = [
            status
            for workflow in session.workflows.values()
            for status in workflow.statuses
            if status.name.lower() == name.lower()
        ]
        if not mine:
            raise click.UsageError(f"no workflow has a status {name!r}")
        found += mine
    return found or None


def _stop_with_parent() -> None:
    # not by way of sys.stdin: its lock, held by this thread, would be fatal at the end
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _tell(session: Session, abandoned: Sequence[str]) -> None:
    if session.out.as_json:
        session.out.document({"abandoned": list(abandoned)})
    for name in abandoned:
        session.out.note(f"abandoned: {name}")
